//! The code files: which classes they declare, with which attributes.
//!
//! libtorch puts what the pickle holds into an object's slots without a look at their types, and later reads the slots as
//! what the class declares. So the declarations are read here, in the one form in which `torch.jit.save` prints them, and
//! the pickle is held against them. The bodies of functions are left to libtorch's compiler.

use std::collections::{BTreeMap, BTreeSet};

use super::ArchiveError;
use super::operators::is_refused;
use super::types::{Type, is_identifier, is_qualified_class};

/// Deepest nesting of brackets: libtorch's compiler calls itself for each.
const MAX_BRACKETS: usize = 64;

/// Deepest indentation, in spaces.
const MAX_INDENTATION: usize = 128;

/// Longest line, continuations included: a chain of operators nests like brackets.
const MAX_LINE_BYTES: usize = 16 << 10;

/// Classes of modules by their qualified names.
#[derive(Debug, Default)]
pub(super) struct Declarations {
    modules: BTreeMap<String, Module>,
    /// Everything that was declared: a second declaration of a name could be the one that libtorch takes.
    names: BTreeSet<String>,
}

/// A class of modules.
#[derive(Debug, Default)]
pub(super) struct Module {
    /// The slots of its objects; none stands for a type that no value may have.
    pub(super) attributes: BTreeMap<String, Option<Type>>,
    buffers: Vec<String>,
}

impl Declarations {
    /// Reads all code files.
    pub(super) fn read<'a>(files: impl Iterator<Item = (&'a str, &'a [u8])>) -> Result<Self, ArchiveError> {
        let mut declarations = Self::default();
        for (file, code) in files {
            let mut reading = Reading { file, declarations: &mut declarations, within: Within::Nothing };
            let qualifier = reading.qualifier()?;
            for line in logical_lines(file, code)? {
                reading.line(&line, &qualifier)?;
            }
        }
        Ok(declarations)
    }

    /// A class of modules.
    pub(super) fn module(&self, class: &str) -> Option<&Module> {
        self.modules.get(class)
    }

    /// The names of all buffers, sorted.
    pub(super) fn buffers(&self) -> Vec<String> {
        let names: BTreeSet<&String> = self.modules.values().flat_map(|module| &module.buffers).collect();
        names.into_iter().cloned().collect()
    }
}

/// One statement: a line with its continuations.
struct Line<'a> {
    number: usize,
    indentation: usize,
    text: &'a str,
}

/// Where the reading stands.
enum Within {
    Nothing,
    /// In a class of modules, before its first function or in one.
    Module {
        class: String,
        in_function: bool,
    },
    /// In a function, or in a class that is no module.
    Other,
}

struct Reading<'a> {
    file: &'a str,
    declarations: &'a mut Declarations,
    within: Within,
}

impl Reading<'_> {
    /// The qualified name that the file's declarations begin with.
    fn qualifier(&self) -> Result<String, ArchiveError> {
        let path = self.file.strip_prefix("code/").and_then(|path| path.strip_suffix(".py")).unwrap_or("");
        let qualifier = path.replace('/', ".");
        if !path.contains('.') && is_qualified_class(&format!("{qualifier}.A")) {
            Ok(qualifier)
        } else {
            Err(self.refused(0, "only code below __torch__ is read, and no quantised layers"))
        }
    }

    fn line(&mut self, line: &Line<'_>, qualifier: &str) -> Result<(), ArchiveError> {
        match (&self.within, line.indentation) {
            (_, 0) => self.begin(line, qualifier),
            (Within::Module { class, .. }, 2) => {
                let class = class.clone();
                self.member(line, class)
            }
            (Within::Module { in_function: true, .. }, 4..) | (Within::Other, 2..) => Ok(()),
            (Within::Module { .. } | Within::Other | Within::Nothing, _) => {
                Err(self.refused(line.number, "the indentation fits nothing"))
            }
        }
    }

    /// A line that begins a class or a function.
    fn begin(&mut self, line: &Line<'_>, qualifier: &str) -> Result<(), ArchiveError> {
        let not_known = "only classes and functions are read here";
        let head = line.text.strip_suffix(':').ok_or_else(|| self.refused(line.number, not_known))?;
        let (name, base) = if let Some(class) = head.strip_prefix("class ") {
            match class.strip_suffix(')').and_then(|class| class.split_once('(')) {
                Some((name, base)) => (name, base),
                None => (class, ""),
            }
        } else if let Some((name, _)) = head.strip_prefix("def ").and_then(|def| def.split_once('(')) {
            (name, "")
        } else {
            return Err(self.refused(line.number, not_known));
        };
        let qualified = format!("{qualifier}.{name}");
        if !is_identifier(name) || !self.declarations.names.insert(qualified.clone()) {
            return Err(self.refused(line.number, "the name is declared twice or is none"));
        }
        self.within = if base == "Module" {
            self.declarations.modules.insert(qualified.clone(), Module::default());
            Within::Module { class: qualified, in_function: false }
        } else {
            Within::Other
        };
        Ok(())
    }

    /// A line directly in a class of modules.
    fn member(&mut self, line: &Line<'_>, class: String) -> Result<(), ArchiveError> {
        let unknown = self.refused(line.number, "this is no declaration that torch.jit.save writes");
        if let Some(function) = line.text.strip_prefix("def ") {
            let name = function.split('(').next().unwrap_or("");
            // These would run while the state is read, with a state of any kind.
            if matches!(name, "__setstate__" | "__getstate__") || !line.text.ends_with(':') {
                return Err(unknown);
            }
            self.within = Within::Module { class, in_function: true };
            return Ok(());
        }
        let Some(module) = self.declarations.modules.get_mut(&class) else { return Err(unknown) };
        let attribute = if let Some(list) = line.text.strip_prefix("__parameters__ = ") {
            return names(list).map(|_| ()).ok_or(unknown);
        } else if let Some(list) = line.text.strip_prefix("__buffers__ = ") {
            module.buffers.extend(names(list).ok_or(unknown)?);
            return Ok(());
        } else if line.text == "__annotations__ = []" {
            return Ok(());
        } else if let Some(subscript) = line.text.strip_prefix("__annotations__[\"") {
            subscript.split_once("\"] = ").filter(|(name, _)| is_plain(name))
        } else {
            line.text.split_once(" : ").filter(|(name, _)| is_identifier(name) && !name.starts_with("__"))
        };
        let (name, declared) = attribute.ok_or_else(|| unknown.clone())?;
        match declared.split_once(" = ") {
            // A constant has no slot.
            Some((kind, _)) if kind.starts_with("Final[") => Ok(()),
            Some(_) => Err(unknown),
            None if module.attributes.insert(name.to_owned(), Type::parse(declared)).is_none() => Ok(()),
            None => Err(unknown),
        }
    }

    fn refused(&self, line: usize, rule: &'static str) -> ArchiveError {
        ArchiveError::Code { file: self.file.to_owned(), line, rule }
    }
}

/// The names in a list such as `["running_mean", "running_var", ]`.
fn names(list: &str) -> Option<Vec<String>> {
    let list = list.strip_prefix('[')?.strip_suffix(']')?;
    let mut found = Vec::new();
    for name in list.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        let name = name.strip_prefix('"')?.strip_suffix('"')?;
        found.push(is_plain(name).then(|| name.to_owned())?);
    }
    Some(found)
}

fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

/// Splits code into statements, as libtorch's lexer does: a line break inside brackets does not end one.
fn logical_lines<'a>(file: &str, code: &'a [u8]) -> Result<Vec<Line<'a>>, ArchiveError> {
    let refused = |line: usize, rule| ArchiveError::Code { file: file.to_owned(), line, rule };
    let text = std::str::from_utf8(code).map_err(|_| refused(0, "it is not text"))?;
    if let Some(odd) = text.bytes().position(|byte| !matches!(byte, b' '..=b'~' | b'\n')) {
        let line = code.iter().take(odd).filter(|byte| **byte == b'\n').count() + 1;
        return Err(refused(line, "it has a character that torch.jit.save does not write"));
    }
    let mut lines = Vec::new();
    let (mut brackets, mut quote, mut escaped): (Vec<u8>, Option<u8>, bool) = (Vec::new(), None, false);
    let (mut start, mut first, mut number) = (0, 1, 1);
    for (index, byte) in text.bytes().chain(std::iter::once(b'\n')).enumerate() {
        match (quote, byte) {
            (Some(_), b'\n') => return Err(refused(number, "a text is not closed")),
            (Some(_), _) if escaped => escaped = false,
            (Some(_), b'\\') => escaped = true,
            (Some(mark), _) if byte == mark => quote = None,
            (Some(_), _) => {}
            (None, b'"' | b'\'') => {
                if code.get(index..index + 3).is_some_and(|three| three.iter().all(|other| *other == byte)) {
                    return Err(refused(number, "texts over several lines are not read"));
                }
                quote = Some(byte);
            }
            (None, b'#' | b'\\' | b';' | b'`') => {
                return Err(refused(number, "it has a character that torch.jit.save does not write"));
            }
            (None, b'(' | b'[' | b'{') if brackets.len() < MAX_BRACKETS => brackets.push(byte),
            (None, b'(' | b'[' | b'{') => return Err(refused(number, "brackets are nested too deeply")),
            (None, b')' | b']' | b'}') => {
                let opened = match byte {
                    b')' => b'(',
                    b']' => b'[',
                    _ => b'{',
                };
                if brackets.pop() != Some(opened) {
                    return Err(refused(number, "brackets do not match"));
                }
            }
            (None, b'\n') if brackets.is_empty() => {
                let whole = text.get(start..index).unwrap_or("");
                let statement = whole.trim_start_matches(' ');
                let indentation = whole.len() - statement.len();
                if indentation > MAX_INDENTATION || whole.len() > MAX_LINE_BYTES {
                    return Err(refused(first, "the line is too long or too far indented"));
                }
                let statement = statement.trim_end_matches(' ');
                if is_refused(statement) {
                    return Err(refused(first, "it names an operator that no layer needs and no site runs"));
                }
                if !statement.is_empty() {
                    lines.push(Line { number: first, indentation, text: statement });
                }
                (start, first) = (index + 1, number + 1);
            }
            (None, _) => {}
        }
        number += usize::from(byte == b'\n');
    }
    if brackets.is_empty() { Ok(lines) } else { Err(refused(first, "a bracket is not closed")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(code: &str) -> Result<Declarations, ArchiveError> {
        Declarations::read(std::iter::once(("code/__torch__/a.py", code.as_bytes())))
    }

    const CLASS: &str = "class A(Module):\n  __parameters__ = [\"weight\", ]\n  __buffers__ = [\"mean\", \"count\", ]\n  \
                         weight : Tensor\n  __annotations__[\"0\"] = __torch__.b.B\n  width : Final[int] = 3\n  \
                         strange : Any\n";

    #[test]
    fn attributes_and_buffers_are_found() {
        let text =
            format!("{CLASS}  def forward(self: __torch__.a.A,\n    x: Tensor) -> Tensor:\n    return x\n");
        let read = read(&text).unwrap();
        assert_eq!(read.buffers(), ["count", "mean"]);
        let attributes = &read.module("__torch__.a.A").unwrap().attributes;
        let names: Vec<&str> = attributes.keys().map(String::as_str).collect();
        assert_eq!(names, ["0", "strange", "weight"]);
        assert_eq!((&attributes["weight"], &attributes["strange"]), (&Some(Type::Tensor), &None));
    }

    #[test]
    fn code_that_two_readers_could_see_differently_is_refused() {
        for addition in [
            "  weight : int\n",
            "    hidden : int\n",
            "   hidden : int\n",
            "\thidden : int\n",
            "  hidden : int # comment\n",
            "  hidden : int = 3\n",
            "  hidden : \\\n    int\n",
            "  def f(self): hidden : int\n",
            "  def __setstate__(self):\n    pass\n",
            "  x : Final[str] = \"\"\"\n  hidden : int\n\"\"\"\n",
            "class A(Module):\n  weight : int\n",
            "def A(x: int):\n  pass\n",
            "from os import system\n",
            "  x : Final[int] = (3\n",
            "  x : Final[int] = 3)\n",
            "  é : int\n",
        ] {
            assert!(read(&format!("{CLASS}{addition}")).is_err(), "{addition}");
        }
        let deep = format!("def f(x: int):\n  return {}x{}\n", "(".repeat(100_000), ")".repeat(100_000));
        assert!(read(&deep).is_err());
    }
}
