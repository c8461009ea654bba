//! The pickle machine: the instructions that `torch.jit.save` writes, and what may be made with them.
//!
//! The machine makes no tensor and no object: it checks that libtorch can make them, and keeps of an object its class
//! alone. Values are shared, never copied, and nothing here calls itself on a value: what a file can ask for is bounded
//! by the length of its pickle. Source for the instructions: CPython's `Lib/pickletools.py`; for what libtorch makes of
//! them: PyTorch's `torch/csrc/jit/serialization/unpickler.cpp`.

mod input;
mod tensors;
mod value;

use std::collections::BTreeSet;
use std::rc::Rc;

use input::Input;
pub(super) use tensors::Tensors;
use value::{Functor, Items, Kind, ListOf, Value};

use super::ArchiveError;
use super::code::Declarations;
use super::types::{Type, is_identifier, is_qualified_class};

/// Deepest nesting of modules, lists and tuples: libtorch calls itself for each.
const MAX_DEPTH: u32 = 64;

/// Most modules, tensors and plain values, each counted as often as it can be reached.
const MAX_REACHED: u64 = 1_000_000;

/// Most marks that are open at a time.
const MAX_MARKS: usize = 256;

/// Most elements of lists whose types are checked.
const MAX_WORK: usize = 4 << 20;

/// What a pickle holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Root {
    /// The state of a module.
    Module,
    /// A tuple of tensors.
    Constants,
}

/// Runs a pickle.
///
/// # Errors
/// [`ArchiveError::Pickle`] for the first instruction that breaks a rule.
pub(super) fn run(
    pickle: &[u8],
    declarations: &Declarations,
    root: Root,
    tensors: &mut Tensors<'_>,
) -> Result<(), ArchiveError> {
    let record = tensors.record();
    let mut machine = Machine {
        input: Input::new(pickle),
        declarations,
        tensors,
        frames: vec![Vec::new()],
        memo: Vec::new(),
        work: 0,
    };
    machine.run(root).map_err(|rule| ArchiveError::Pickle { record, at: machine.input.instruction(), rule })
}

/// The rule that an instruction breaks.
type Rule = &'static str;

const EMPTY_STACK: Rule = "there are too few values";
const FORM: Rule = "torch.jit.save does not write this";

struct Machine<'a, 'b> {
    input: Input<'a>,
    declarations: &'a Declarations,
    tensors: &'a mut Tensors<'b>,
    /// The stack, cut at each open mark. Never empty.
    frames: Vec<Vec<Value>>,
    memo: Vec<Value>,
    work: usize,
}

impl Machine<'_, '_> {
    fn run(&mut self, root: Root) -> Result<(), Rule> {
        if self.input.instruction_code()? != 0x80 || self.input.bytes::<1>()? != [2] {
            return Err("it is not a pickle of protocol 2");
        }
        while self.step()? {}
        let (value, below) = (self.pop()?, self.frames.pop().unwrap_or_default());
        if !(below.is_empty() && self.frames.is_empty() && self.input.is_at_end()) {
            return Err("something is left behind the end");
        }
        match (root, &value) {
            (Root::Module, Value::Object { .. }) => Ok(()),
            (Root::Constants, Value::Items(items))
                if items.kind == Kind::Tuple
                    && items.values.iter().all(|value| matches!(value, Value::Tensor)) =>
            {
                Ok(())
            }
            _ => Err("it holds neither a module nor constant tensors"),
        }
    }

    /// Does one instruction; false after the last.
    fn step(&mut self) -> Result<bool, Rule> {
        match self.input.instruction_code()? {
            b'.' => return Ok(false),
            b'(' if self.frames.len() < MAX_MARKS => self.frames.push(Vec::new()),
            b'N' => self.push(Value::None),
            0x88 | 0x89 => self.push(Value::Bool),
            b'K' => {
                let value = i64::from(u8::from_le_bytes(self.input.bytes()?));
                self.push(Value::Int(value));
            }
            b'M' => {
                let value = i64::from(u16::from_le_bytes(self.input.bytes()?));
                self.push(Value::Int(value));
            }
            b'J' => {
                let value = i64::from(i32::from_le_bytes(self.input.bytes()?));
                self.push(Value::Int(value));
            }
            0x8a => {
                if self.input.bytes::<1>()? != [8] {
                    return Err(FORM);
                }
                let value = i64::from_le_bytes(self.input.bytes()?);
                self.push(Value::Int(value));
            }
            b'G' => {
                let _value: [u8; 8] = self.input.bytes()?;
                self.push(Value::Float);
            }
            b'X' => {
                let text = self.input.text()?;
                self.push(Value::Text(text.into()));
            }
            b']' => self.push(Value::Open(Kind::List)),
            b'}' => self.push(Value::Open(Kind::Dict)),
            b'e' => self.close(Kind::List)?,
            b'u' => self.close(Kind::Dict)?,
            b')' => self.push_items(Kind::Tuple, Vec::new())?,
            b't' => {
                let values = self.pop_to_mark()?;
                self.push_items(Kind::Tuple, values)?;
            }
            short @ 0x85..=0x87 => {
                let mut values = Vec::new();
                for _ in 0x84..short {
                    values.push(self.pop()?);
                }
                values.reverse();
                self.push_items(Kind::Tuple, values)?;
            }
            b'q' => {
                let place = u32::from(u8::from_le_bytes(self.input.bytes()?));
                self.remember(place)?;
            }
            b'r' => {
                let place = u32::from_le_bytes(self.input.bytes()?);
                self.remember(place)?;
            }
            b'h' => {
                let place = u32::from(u8::from_le_bytes(self.input.bytes()?));
                self.recall(place)?;
            }
            b'j' => {
                let place = u32::from_le_bytes(self.input.bytes()?);
                self.recall(place)?;
            }
            b'c' => {
                let (module, name) = (self.input.line()?, self.input.line()?);
                let value = self.global(module, name)?;
                self.push(value);
            }
            0x81 => match (self.pop()?, self.pop()?) {
                (Value::Items(none), Value::Functor(Functor::Class(class)))
                    if none.kind == Kind::Tuple && none.values.is_empty() =>
                {
                    self.push(Value::Unbuilt(class));
                }
                _ => return Err(FORM),
            },
            b'b' => match (self.pop()?, self.pop()?) {
                (Value::Items(state), Value::Unbuilt(class)) if state.kind == Kind::Dict => {
                    let object = self.object(&class, &state)?;
                    self.push(object);
                }
                _ => return Err(FORM),
            },
            b'R' => match (self.pop()?, self.pop()?) {
                (Value::Items(arguments), Value::Functor(functor)) if arguments.kind == Kind::Tuple => {
                    let value = self.call(&functor, &arguments.values)?;
                    self.push(value);
                }
                _ => return Err(FORM),
            },
            b'Q' => {
                let Value::Items(arguments) = self.pop()? else { return Err(FORM) };
                if arguments.kind != Kind::Tuple {
                    return Err(FORM);
                }
                let storage = self.tensors.storage(&arguments.values)?;
                self.push(Value::Storage(storage));
            }
            _ => return Err("torch.jit.save does not write this instruction"),
        }
        Ok(true)
    }

    fn push(&mut self, value: Value) {
        if let Some(frame) = self.frames.last_mut() {
            frame.push(value);
        }
    }

    fn pop(&mut self) -> Result<Value, Rule> {
        self.frames.last_mut().and_then(Vec::pop).ok_or(EMPTY_STACK)
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Value>, Rule> {
        let values = self.frames.pop().ok_or(EMPTY_STACK)?;
        if self.frames.is_empty() { Err("there is no mark") } else { Ok(values) }
    }

    /// Puts values into a fresh list or dictionary.
    fn close(&mut self, kind: Kind) -> Result<(), Rule> {
        let values = self.pop_to_mark()?;
        if !matches!(self.pop()?, Value::Open(open) if open == kind) {
            return Err(FORM);
        }
        self.push_items(kind, values)
    }

    fn push_items(&mut self, kind: Kind, values: Vec<Value>) -> Result<(), Rule> {
        if kind == Kind::Dict && !values.len().is_multiple_of(2) {
            return Err("a key has no value");
        }
        let (mut depth, mut reached) = (0, 1_u64);
        for value in &values {
            let (below, with_all) = value.extent().ok_or(FORM)?;
            depth = depth.max(below);
            reached = reached.saturating_add(with_all);
        }
        let depth = within_bounds(depth, reached)?;
        self.push(Value::Items(Rc::new(Items { kind, values, tag: None, depth, reached })));
        Ok(())
    }

    fn remember(&mut self, place: u32) -> Result<(), Rule> {
        let value = self.frames.last().and_then(|frame| frame.last()).ok_or(EMPTY_STACK)?;
        // A list without its type could be given two types, one behind the other's back.
        let unfinished = matches!(value, Value::Open(_) | Value::Unbuilt(_))
            || matches!(value, Value::Items(items) if items.kind != Kind::Tuple && items.tag.is_none());
        if unfinished || usize::try_from(place) != Ok(self.memo.len()) {
            return Err("values are numbered in order, and when they are finished");
        }
        self.memo.push(value.clone());
        Ok(())
    }

    fn recall(&mut self, place: u32) -> Result<(), Rule> {
        let value = usize::try_from(place).ok().and_then(|place| self.memo.get(place));
        let value = value.ok_or("no value has this number")?.clone();
        self.push(value);
        Ok(())
    }

    fn global(&self, module: &str, name: &str) -> Result<Value, Rule> {
        Ok(match (module, name) {
            ("torch._utils", "_rebuild_tensor_v2") => Value::Functor(Functor::Tensor),
            ("collections", "OrderedDict") => Value::Functor(Functor::Hooks),
            ("torch.jit._pickle", "build_intlist") => Value::Functor(Functor::List(ListOf::Int)),
            ("torch.jit._pickle", "build_doublelist") => Value::Functor(Functor::List(ListOf::Float)),
            ("torch.jit._pickle", "build_boollist") => Value::Functor(Functor::List(ListOf::Bool)),
            ("torch.jit._pickle", "build_tensorlist") => Value::Functor(Functor::List(ListOf::Tensor)),
            ("torch.jit._pickle", "restore_type_tag") => Value::Functor(Functor::TypeTag),
            ("torch", storage) => Value::Element(
                tensors::Element::of_storage(storage).ok_or("elements of this type are not read")?,
            ),
            (module, name) => {
                let class = format!("{module}.{name}");
                let known = is_identifier(name) && is_qualified_class(&class);
                if !known || self.declarations.module(&class).is_none() {
                    return Err("this is no class of modules of the file's own code");
                }
                Value::Functor(Functor::Class(class.into()))
            }
        })
    }

    /// The result of a functor.
    fn call(&mut self, functor: &Functor, arguments: &[Value]) -> Result<Value, Rule> {
        match (functor, arguments) {
            (Functor::Hooks, []) => Ok(Value::Hooks),
            (Functor::Tensor, arguments) => {
                self.tensors.tensor(arguments)?;
                Ok(Value::Tensor)
            }
            (Functor::List(of), [Value::Items(list)]) if list.kind == Kind::List => {
                self.tagged(list, &Type::List(Box::new(of.element())))
            }
            (Functor::TypeTag, [Value::Items(items), Value::Text(tag)]) => {
                let tag = Type::parse(tag).ok_or("attributes of this type are not read")?;
                self.tagged(items, &tag)
            }
            _ => Err(FORM),
        }
    }

    /// A list or dictionary with the type of its elements.
    fn tagged(&mut self, items: &Items, tag: &Type) -> Result<Value, Rule> {
        self.work = self.work.saturating_add(items.values.len() + 1);
        if self.work > MAX_WORK {
            return Err("there are too many lists");
        }
        let fits = items.tag.is_none()
            && match (tag, items.kind) {
                (Type::List(element), Kind::List) => items.values.iter().all(|value| value.is_of(element)),
                (Type::Dict(types), Kind::Dict) => {
                    let (keys, values) = &**types;
                    matches!(keys, Type::Text | Type::Int)
                        && items.values.chunks(2).all(
                            |pair| matches!(pair, [key, value] if key.is_of(keys) && value.is_of(values)),
                        )
                }
                _ => false,
            };
        if !fits {
            return Err("an element is not of its list's type");
        }
        let values = items.values.clone();
        let Items { kind, depth, reached, .. } = *items;
        Ok(Value::Items(Rc::new(Items { kind, values, tag: Some(tag.clone()), depth, reached })))
    }

    /// An object with its state, which must have what its class declares and nothing else.
    fn object(&self, class: &Rc<str>, state: &Items) -> Result<Value, Rule> {
        let module = self.declarations.module(class).ok_or(FORM)?;
        let mut seen = BTreeSet::new();
        for pair in state.values.chunks(2) {
            let [Value::Text(name), value] = pair else { return Err(FORM) };
            match module.attributes.get(&**name) {
                None => return Err("an attribute is not declared by its class"),
                Some(None) => return Err("attributes of this type are not read"),
                Some(Some(declared)) if !value.is_of(declared) => {
                    return Err("an attribute is not of the type that its class declares");
                }
                Some(Some(_)) => {}
            }
            if !seen.insert(&**name) {
                return Err("an attribute is there twice");
            }
        }
        if seen.len() != module.attributes.len() {
            return Err("an attribute is missing");
        }
        let depth = within_bounds(state.depth, state.reached)?;
        Ok(Value::Object { class: Rc::clone(class), depth, reached: state.reached })
    }
}

/// The depth of something that contains values of this depth.
fn within_bounds(depth: u32, reached: u64) -> Result<u32, Rule> {
    if depth >= MAX_DEPTH || reached > MAX_REACHED {
        return Err("modules or lists are nested too deeply, or are too many");
    }
    Ok(depth + 1)
}
