//! Tells canonical JSON from other bytes in one pass, without building a value.

/// The first integer that isn't safe has 16 digits.
const MAX_DIGITS: usize = 16;

/// Arrays and objects within each other that `serde_json` reads.
const MAX_DEPTH: u32 = 127;

/// An object that begins with one of these names is something else than an object to `serde_json`, depending on the
/// features it was built with.
const RESERVED: [&str; 2] = ["$serde_json::private::Number", "$serde_json::private::RawValue"];

/// Whether `bytes` are exactly what [`canonical_json`](super::canonical_json) writes for the value they stand for.
///
/// Refused are also values nested more than 127 deep, and objects whose first name is one that `serde_json` uses for itself.
#[must_use]
pub fn is_canonical(bytes: &[u8]) -> bool {
    canonical_text(bytes).is_some()
}

/// The same bytes as text, if they are canonical.
pub(crate) fn canonical_text(bytes: &[u8]) -> Option<&str> {
    let text = str::from_utf8(bytes).ok()?;
    let mut scan = Scan::new(text);
    scan.value(0)?;
    scan.is_done().then_some(text)
}

/// What is still to be read. `None` from its methods means: not canonical.
pub(crate) struct Scan<'a> {
    rest: &'a str,
}

impl<'a> Scan<'a> {
    pub(crate) const fn new(text: &'a str) -> Self {
        Self { rest: text }
    }

    /// Whether everything was read.
    pub(crate) const fn is_done(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next value's text, which lies within `depth` arrays and objects.
    pub(crate) fn text_of_value(&mut self, depth: u32) -> Option<&'a str> {
        let start = self.rest;
        self.value(depth)?;
        start.get(..start.len() - self.rest.len())
    }

    fn value(&mut self, depth: u32) -> Option<()> {
        match self.rest.as_bytes().first()? {
            b'"' => self.string().map(|_| ()),
            b'{' => self.object(depth + 1),
            b'[' => self.array(depth + 1),
            b't' => self.take("true"),
            b'f' => self.take("false"),
            b'n' => self.take("null"),
            _ => self.integer(),
        }
    }

    pub(crate) fn take(&mut self, token: &str) -> Option<()> {
        self.rest = self.rest.strip_prefix(token)?;
        Some(())
    }

    /// Whether a list goes on after a value; `None` if there is neither a comma nor its end.
    pub(crate) fn goes_on(&mut self, end: &str) -> Option<bool> {
        if self.take(",").is_some() { Some(true) } else { self.take(end).map(|()| false) }
    }

    fn array(&mut self, depth: u32) -> Option<()> {
        self.take("[")?;
        if depth > MAX_DEPTH {
            return None;
        }
        if self.take("]").is_some() {
            return Some(());
        }
        loop {
            self.value(depth)?;
            if !self.goes_on("]")? {
                return Some(());
            }
        }
    }

    fn object(&mut self, depth: u32) -> Option<()> {
        self.take("{")?;
        if depth > MAX_DEPTH {
            return None;
        }
        if self.take("}").is_some() {
            return Some(());
        }
        let mut previous = None;
        loop {
            let name = self.string()?;
            let in_order = match previous {
                None => !RESERVED.contains(&name),
                Some(previous) => precedes(previous, name),
            };
            if !in_order {
                return None;
            }
            previous = Some(name);
            self.take(":")?;
            self.value(depth)?;
            if !self.goes_on("}")? {
                return Some(());
            }
        }
    }

    /// A string, of which what stands between the quotes is returned, with its escapes.
    pub(crate) fn string(&mut self) -> Option<&'a str> {
        self.take("\"")?;
        let start = self.rest;
        let mut length = 0;
        loop {
            length += plain(start.as_bytes().get(length..)?);
            match start.as_bytes().get(length)? {
                b'"' => break,
                b'\\' => length += escape(start.as_bytes().get(length..)?)?,
                _ => return None,
            }
        }
        let (raw, _) = start.split_at_checked(length)?;
        self.rest = start.get(length + 1..)?;
        Some(raw)
    }

    fn integer(&mut self) -> Option<()> {
        let unsigned = self.rest.strip_prefix('-').unwrap_or(self.rest);
        let count = unsigned.bytes().take_while(u8::is_ascii_digit).count();
        let (digits, rest) = unsigned.split_at_checked(count)?;
        let exact = match digits.as_bytes() {
            [] => false,
            [b'0', ..] => count == 1 && unsigned.len() == self.rest.len(),
            _ if count == MAX_DIGITS => digits.parse::<u64>().is_ok_and(|n| n < super::FIRST_UNSAFE_INTEGER),
            _ => count < MAX_DIGITS,
        };
        self.rest = rest;
        exact.then_some(())
    }
}

/// How many bytes come before the first quote, backslash or control character; all of them if there is none.
fn plain(bytes: &[u8]) -> usize {
    let (words, tail) = bytes.as_chunks::<8>();
    for (word, at) in words.iter().zip((0..).step_by(8)) {
        let special = special_bytes(u64::from_le_bytes(*word));
        if special != 0 {
            return at + special.trailing_zeros() as usize / 8;
        }
    }
    let is_special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
    8 * words.len() + tail.iter().position(is_special).unwrap_or(tail.len())
}

/// The high bit of the lowest byte that is special is the lowest bit that is set; bits above it say nothing.
const fn special_bytes(word: u64) -> u64 {
    const EACH: u64 = u64::MAX / 0xff;
    const fn below(word: u64, limit: u8) -> u64 {
        word.wrapping_sub(EACH * limit as u64) & !word
    }
    let quote = below(word ^ (EACH * b'"' as u64), 1);
    let backslash = below(word ^ (EACH * b'\\' as u64), 1);
    (below(word, 0x20) | quote | backslash) & (EACH * 0x80)
}

/// The length of the escape at the beginning, if RFC 8785 would write it: nothing is escaped that needn't be, and the two-letter
/// form is used where there is one.
fn escape(bytes: &[u8]) -> Option<usize> {
    match bytes {
        [b'\\', b'"' | b'\\' | b'b' | b'f' | b'n' | b'r' | b't', ..] => Some(2),
        [b'\\', b'u', b'0', b'0', b'0', b'0'..=b'7' | b'b' | b'e' | b'f', ..]
        | [b'\\', b'u', b'0', b'0', b'1', b'0'..=b'9' | b'a'..=b'f', ..] => Some(6),
        _ => None,
    }
}

/// Whether the first name comes before the second by UTF-16 code units. Both are as they stand between their quotes.
fn precedes(first: &str, second: &str) -> bool {
    // Without escapes, and below U+E000, bytes have the order of code units.
    let plain = |name: &str| name.bytes().all(|byte| byte != b'\\' && byte < 0xee);
    if plain(first) && plain(second) { first < second } else { units(first).lt(units(second)) }
}

/// The UTF-16 code units of a string with canonical escapes.
fn units(raw: &str) -> impl Iterator<Item = u16> {
    let mut characters = raw.chars();
    let unescaped = std::iter::from_fn(move || match characters.next()? {
        '\\' => match characters.next()? {
            'b' => Some('\u{8}'),
            'f' => Some('\u{c}'),
            'n' => Some('\n'),
            'r' => Some('\r'),
            't' => Some('\t'),
            'u' => {
                let code =
                    characters.by_ref().take(4).try_fold(0, |code, c| Some(code << 4 | c.to_digit(16)?));
                code.and_then(char::from_u32)
            }
            itself => Some(itself),
        },
        other => Some(other),
    });
    unescaped.flat_map(|character| {
        let mut buffer = [0; 2];
        let count = character.encode_utf16(&mut buffer).len();
        buffer.into_iter().take(count)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_is_canonical() {
        for good in [
            "0",
            "-1",
            "9007199254740991",
            "-9007199254740991",
            "true",
            "false",
            "null",
            r#""""#,
            r#""a\"\\\b\f\n\r\t\u0000\u001f/é😀""#,
            "\"\u{7f}\u{2028}\"",
            "[]",
            "{}",
            r#"[1,[],{"a":{"b":false},"c":[null]}]"#,
            r#"{"":0,"\r":1,"1":2,"10":3,"2":4}"#,
            "{\"\u{1f600}\":1,\"\u{fb33}\":2}",
            r#"{"!":0,"$serde_json::private::RawValue":1}"#,
        ] {
            assert!(is_canonical(good.as_bytes()), "{good}");
        }
        let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(is_canonical(nested(127).as_bytes()));
        assert!(!is_canonical(nested(128).as_bytes()));
    }

    #[test]
    fn refuses_what_has_another_spelling() {
        for bad in [
            "",
            " 0",
            "0 ",
            "00",
            "-0",
            "01",
            "-",
            "1.0",
            "1e3",
            "9007199254740992",
            "-9007199254740992",
            "10000000000000000",
            "nul",
            "True",
            "\"",
            r#""\/""#,
            r#""\u0041""#,
            r#""\u000a""#,
            r#""\u001F""#,
            r#""\u0020""#,
            r#""\ud83d\ude00""#,
            r#""\x""#,
            r#""\u00""#,
            "\"\n\"",
            "\"12345678\u{1f}\"",
            "[1,]",
            "[,1]",
            "[1 ,2]",
            "[1",
            "[1}",
            r#"{"a"}"#,
            r#"{"a":1,}"#,
            r#"{"a":1,"a":2}"#,
            r#"{"b":1,"a":2}"#,
            r#"{"1":1,"\r":2}"#,
            "{\"\u{fb33}\":2,\"\u{1f600}\":1}",
            r#"{"$serde_json::private::RawValue":"1"}"#,
            r#"{"$serde_json::private::Number":"1"}"#,
            "{1:2}",
            "{}{}",
        ] {
            assert!(!is_canonical(bad.as_bytes()), "{bad}");
        }
        assert!(!is_canonical(b"\"\xff\""));
    }
}
