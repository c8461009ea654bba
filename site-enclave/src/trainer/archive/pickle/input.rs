//! The bytes of a pickle.

use super::Rule;

const SHORT: Rule = "the pickle ends too early";

/// Longest text in a pickle: names and type tags.
const MAX_TEXT: usize = 4_096;

/// A pickle and how far it was read.
pub(super) struct Input<'a> {
    pickle: &'a [u8],
    next: usize,
    instruction: usize,
}

impl<'a> Input<'a> {
    pub(super) fn new(pickle: &'a [u8]) -> Self {
        Self { pickle, next: 0, instruction: 0 }
    }

    /// Where the current instruction begins.
    pub(super) fn instruction(&self) -> usize {
        self.instruction
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.next == self.pickle.len()
    }

    /// The next instruction's code.
    pub(super) fn instruction_code(&mut self) -> Result<u8, Rule> {
        self.instruction = self.next;
        let [code] = self.bytes()?;
        Ok(code)
    }

    pub(super) fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Rule> {
        self.slice(N)?.try_into().map_err(|_| SHORT)
    }

    /// A text behind its length in four bytes.
    pub(super) fn text(&mut self) -> Result<&'a str, Rule> {
        let length = usize::try_from(u32::from_le_bytes(self.bytes()?)).unwrap_or(usize::MAX);
        if length > MAX_TEXT {
            return Err("a text is too long");
        }
        std::str::from_utf8(self.slice(length)?).map_err(|_| "a text is not UTF-8")
    }

    /// A name up to the end of its line.
    pub(super) fn line(&mut self) -> Result<&'a str, Rule> {
        let rest = self.pickle.get(self.next..).unwrap_or_default();
        let length =
            rest.iter().take(MAX_TEXT).position(|byte| *byte == b'\n').ok_or("a name does not end")?;
        let name = std::str::from_utf8(self.slice(length)?).map_err(|_| "a name is not UTF-8")?;
        self.next += 1;
        Ok(name)
    }

    fn slice(&mut self, length: usize) -> Result<&'a [u8], Rule> {
        let end = self.next.checked_add(length).ok_or(SHORT)?;
        let slice = self.pickle.get(self.next..end).ok_or(SHORT)?;
        self.next = end;
        Ok(slice)
    }
}
