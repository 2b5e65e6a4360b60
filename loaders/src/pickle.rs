//! Reads the pickle inside a `torch.save` file as data: a dictionary from names to tensors, and nothing else.
//!
//! A pickle is a program for a stack machine that can call any Python function. Here every opcode and every global
//! outside a short list is an error, the listed globals are recognised and never called, and no value is larger than
//! the opcodes that built it: values are plain copies, containers live in two vectors, so nothing nests or recurses.

use std::collections::{HashMap, HashSet};

/// A named tensor: a strided view of a storage.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TensorRecord<'a> {
    pub name: &'a str,
    pub storage: Storage<'a>,
    /// First element, counted in elements of the storage.
    pub offset: u64,
    pub shape: Vec<u64>,
    /// In elements.
    pub stride: Vec<u64>,
}

/// A block of elements in its own zip entry `data/<key>`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Storage<'a> {
    pub key: &'a str,
    /// Torch's class, e.g. `BFloat16Storage`.
    pub class: &'a str,
    pub elements: u64,
}

/// Runs the pickle and returns its tensors in file order, or what was found instead, as half a sentence.
pub(crate) fn read_state_dict(pickle: &[u8]) -> Result<Vec<TensorRecord<'_>>, String> {
    Machine { input: pickle, ..Machine::default() }.run()
}

/// What can be on the stack. Containers are positions in the machine's vectors.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Value<'a> {
    Mark,
    None,
    Bool,
    Int(i64),
    Str(&'a str),
    /// `start, len` in `Machine::items`.
    Tuple(usize, usize),
    /// Position in `Machine::dicts`.
    Dict(usize),
    Global(Global<'a>),
    Storage(Storage<'a>),
    /// Position in `Machine::tensors`.
    Tensor(usize),
}

/// The only globals that may be named.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Global<'a> {
    RebuildTensor,
    RebuildParameter,
    OrderedDict,
    StorageClass(&'a str),
}

impl<'a> Global<'a> {
    fn named(module: &'a str, name: &'a str) -> Option<Self> {
        match (module, name) {
            // The first is PyTorch's from before 0.4, without the flag for gradients.
            ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Some(Self::RebuildTensor),
            ("torch._utils", "_rebuild_parameter") => Some(Self::RebuildParameter),
            ("collections", "OrderedDict") => Some(Self::OrderedDict),
            ("torch", class) if class.ends_with("Storage") && class.bytes().all(|b| b.is_ascii_alphanumeric()) => {
                Some(Self::StorageClass(class))
            }
            _ => None,
        }
    }
}

/// A tensor before it has a name: storage, offset, shape, stride.
type View<'a> = (Storage<'a>, u64, Vec<u64>, Vec<u64>);

#[derive(Default)]
struct Machine<'a> {
    input: &'a [u8],
    stack: Vec<Value<'a>>,
    memo: HashMap<u32, Value<'a>>,
    items: Vec<Value<'a>>,
    dicts: Vec<Vec<(Value<'a>, Value<'a>)>>,
    tensors: Vec<View<'a>>,
}

/// Most dimensions of a tensor; torch itself stops at 64, a checkpoint of ours at 5.
const RANK_MAX: usize = 8;
/// Most values that protocol 4's one-byte opcode may remember, 64 bytes each; a table of 1000 tensors takes 12 000.
const MEMO_MAX: usize = 1 << 20;

impl<'a> Machine<'a> {
    fn run(mut self) -> Result<Vec<TensorRecord<'a>>, String> {
        loop {
            let opcode = self.byte()?;
            if opcode == b'.' {
                return self.finish();
            }
            self.step(opcode)?;
        }
    }

    fn step(&mut self, opcode: u8) -> Result<(), String> {
        match opcode {
            0x80 => match self.byte()? {
                2..=5 => {}
                other => return Err(format!("is a pickle of protocol {other}, but only 2 to 5 are read")),
            },
            b'(' => self.stack.push(Value::Mark),
            b'N' => self.stack.push(Value::None),
            0x88 | 0x89 => self.stack.push(Value::Bool),
            b'K' => self.push_int(1, false)?,
            b'M' => self.push_int(2, false)?,
            b'J' => self.push_int(4, true)?,
            0x8a => {
                let len = self.byte()?;
                self.push_int(usize::from(len), true)?;
            }
            b'X' => {
                let len = self.u32()?;
                self.push_text(u64::from(len))?;
            }
            b'q' | b'r' => {
                let slot = if opcode == b'q' { u32::from(self.byte()?) } else { self.u32()? };
                let top = *self.stack.last().ok_or_else(underflow)?;
                self.memo.insert(slot, top);
            }
            b'h' | b'j' => {
                let slot = if opcode == b'h' { u32::from(self.byte()?) } else { self.u32()? };
                let value = *self.memo.get(&slot).ok_or_else(|| format!("reads memo slot {slot} before it is set"))?;
                self.stack.push(value);
            }
            b')' => self.push_tuple(0)?,
            0x85..=0x87 => self.push_tuple(usize::from(opcode - 0x84))?,
            b't' => {
                let count = self.above_mark()?;
                self.push_tuple(count)?;
                self.drop_mark();
            }
            b'}' => self.push_dict(),
            b's' => self.set_items(2)?,
            b'u' => {
                let count = self.above_mark()?;
                let items = self.stack.split_off(self.stack.len() - count);
                self.stack.pop();
                self.stack.extend(items);
                self.set_items(count)?;
            }
            b'c' => {
                let module = self.line()?;
                let name = self.line()?;
                self.push_global(module, name)?;
            }
            b'Q' => self.persistent_id()?,
            b'R' => self.reduce()?,
            // OrderedDict's attributes, `_metadata` of a module's state_dict: module versions, no weights.
            b'b' => {
                let (_, object) = (self.pop()?, self.stack.last());
                if !matches!(object, Some(Value::Dict(_))) {
                    return Err("sets attributes on something other than a dictionary".into());
                }
            }
            other => self.step_of_protocol_4(other)?,
        }
        Ok(())
    }

    /// Runs the opcodes that pickle protocol 4 added (PEP 3154): frames, strings with lengths of 1 and 8 bytes, globals
    /// named by strings, and MEMOIZE, which numbers its memo slots in order.
    fn step_of_protocol_4(&mut self, opcode: u8) -> Result<(), String> {
        match opcode {
            // FRAME: a promise about how to read ahead, which bytes in memory do not need.
            0x95 => {
                let len = self.u64()?;
                if len > self.input.len() as u64 {
                    return Err("ends in the middle".into());
                }
            }
            0x8c => {
                let len = self.byte()?;
                self.push_text(u64::from(len))?;
            }
            0x8d => {
                let len = self.u64()?;
                self.push_text(len)?;
            }
            0x94 => {
                let slot = self.memo.len();
                if slot == MEMO_MAX {
                    return Err(format!("remembers more than {MEMO_MAX} values"));
                }
                let top = *self.stack.last().ok_or_else(underflow)?;
                self.memo.insert(slot as u32, top);
            }
            0x93 => {
                let name = self.pop()?;
                let module = self.pop()?;
                match (module, name) {
                    (Value::Str(module), Value::Str(name)) => self.push_global(module, name)?,
                    _ => return Err("asks for a function whose name is not text".into()),
                }
            }
            other => return Err(format!("uses pickle opcode 0x{other:02x}, which a file of tensors does not need")),
        }
        Ok(())
    }

    /// The tensors of the dictionary that the pickle leaves. Training frameworks put it one level down, beside
    /// counters: `{"module": {…}, "global_step": 7}`.
    fn finish(mut self) -> Result<Vec<TensorRecord<'a>>, String> {
        let Value::Dict(dict) = self.pop()? else {
            return Err("holds something other than a dictionary of tensors".into());
        };
        let mut pairs = std::mem::take(&mut self.dicts[dict]);
        if let Some(inner) = self.only_dictionary(&pairs)? {
            pairs = std::mem::take(&mut self.dicts[inner]);
        }
        let mut seen = HashSet::with_capacity(pairs.len());
        let mut records = Vec::with_capacity(pairs.len());
        for (key, value) in pairs {
            let Value::Str(name) = key else {
                return Err("has a key that is not a name".into());
            };
            let Value::Tensor(tensor) = value else {
                return Err(format!("holds something other than a tensor under {name:?}"));
            };
            if !seen.insert(name) {
                return Err(format!("holds {name:?} twice"));
            }
            let (storage, offset, shape, stride) = self.tensors[tensor].clone();
            records.push(TensorRecord { name, storage, offset, shape, stride });
        }
        Ok(records)
    }

    /// The one value that is a dictionary with a tensor in it, where no value is itself a tensor.
    fn only_dictionary(&self, pairs: &[(Value<'a>, Value<'a>)]) -> Result<Option<usize>, String> {
        let is_tensor = |(_, value): &(Value<'a>, Value<'a>)| matches!(value, Value::Tensor(_));
        if pairs.iter().any(is_tensor) {
            return Ok(None);
        }
        let with_tensors = pairs.iter().filter_map(|(key, value)| match value {
            Value::Dict(dict) if self.dicts[*dict].iter().any(is_tensor) => Some((key, *dict)),
            _ => None,
        });
        let with_tensors: Vec<_> = with_tensors.collect();
        match with_tensors[..] {
            [] => Ok(None),
            [(_, dict)] => Ok(Some(dict)),
            [(Value::Str(first), _), (Value::Str(second), _), ..] => Err(format!(
                "holds several dictionaries of tensors, {first:?} and {second:?} among them, and does not say which is \
                 the model"
            )),
            _ => Err("has a key that is not a name".into()),
        }
    }

    fn push_text(&mut self, len: u64) -> Result<(), String> {
        let len = usize::try_from(len).map_err(|_| "ends in the middle".to_string())?;
        let text = self.take(len)?;
        self.stack.push(Value::Str(text_of(text)?));
        Ok(())
    }

    fn push_global(&mut self, module: &'a str, name: &'a str) -> Result<(), String> {
        let global = Global::named(module, name).ok_or_else(|| {
            format!("asks for {module:.60}.{name:.60}, which is not needed to hold tensors and may run code")
        })?;
        self.stack.push(Value::Global(global));
        Ok(())
    }

    /// `('storage', <class>, '<key>', '<device>', <elements>)`.
    fn persistent_id(&mut self) -> Result<(), String> {
        let id = self.pop()?;
        match self.tuple(id)? {
            [
                Value::Str("storage"),
                Value::Global(Global::StorageClass(class)),
                Value::Str(key),
                Value::Str(_),
                Value::Int(elements),
            ] => {
                let elements = u64::try_from(*elements).map_err(|_| "names a storage of negative size".to_string())?;
                self.stack.push(Value::Storage(Storage { key, class, elements }));
                Ok(())
            }
            _ => Err("refers to an object outside the file that is not a tensor's storage".into()),
        }
    }

    fn reduce(&mut self) -> Result<(), String> {
        let arguments = self.pop()?;
        let callee = self.pop()?;
        let arguments = self.tuple(arguments)?;
        match (callee, arguments) {
            (Value::Global(Global::OrderedDict), []) => self.push_dict(),
            (Value::Global(Global::RebuildParameter), [tensor @ Value::Tensor(_), ..]) => {
                let tensor = *tensor;
                self.stack.push(tensor);
            }
            (
                Value::Global(Global::RebuildTensor),
                [Value::Storage(storage), Value::Int(offset), shape, stride]
                | [Value::Storage(storage), Value::Int(offset), shape, stride, Value::Bool, ..],
            ) => {
                let offset = u64::try_from(*offset).map_err(|_| "has a tensor at a negative offset".to_string())?;
                let view = (*storage, offset, self.dims(*shape)?, self.dims(*stride)?);
                self.stack.push(Value::Tensor(self.tensors.len()));
                self.tensors.push(view);
            }
            _ => return Err("calls a function with arguments that torch.save does not write".into()),
        }
        Ok(())
    }

    fn dims(&self, value: Value<'a>) -> Result<Vec<u64>, String> {
        let dims = self.tuple(value)?;
        if dims.len() > RANK_MAX {
            return Err(format!("has a tensor of {} dimensions, but at most {RANK_MAX} are read", dims.len()));
        }
        dims.iter()
            .map(|dim| match dim {
                Value::Int(dim) => u64::try_from(*dim).map_err(|_| "has a tensor of negative size".to_string()),
                _ => Err("has a tensor whose size is not a number".to_string()),
            })
            .collect()
    }

    fn tuple(&self, value: Value<'a>) -> Result<&[Value<'a>], String> {
        match value {
            Value::Tuple(start, len) => Ok(&self.items[start..start + len]),
            _ => Err("has something else where a tuple belongs".into()),
        }
    }

    fn push_tuple(&mut self, count: usize) -> Result<(), String> {
        let first = self.stack.len().checked_sub(count).ok_or_else(underflow)?;
        let start = self.items.len();
        self.items.extend(self.stack.drain(first..));
        self.stack.push(Value::Tuple(start, count));
        Ok(())
    }

    /// Removes the mark under the value just pushed.
    fn drop_mark(&mut self) {
        let mark = self.stack.len() - 2;
        self.stack.remove(mark);
    }

    fn push_dict(&mut self) {
        self.stack.push(Value::Dict(self.dicts.len()));
        self.dicts.push(Vec::new());
    }

    fn set_items(&mut self, count: usize) -> Result<(), String> {
        let first = self.stack.len().checked_sub(count).ok_or_else(underflow)?;
        let items = self.stack.split_off(first);
        let (pairs, rest) = items.as_chunks::<2>();
        match self.stack.last() {
            Some(Value::Dict(dict)) if rest.is_empty() => {
                self.dicts[*dict].extend(pairs.iter().map(|[key, value]| (*key, *value)));
                Ok(())
            }
            _ => Err("sets items on something other than a dictionary".into()),
        }
    }

    /// Number of values above the topmost mark.
    fn above_mark(&self) -> Result<usize, String> {
        self.stack.iter().rev().position(|value| *value == Value::Mark).ok_or_else(underflow)
    }

    /// A little-endian integer of `len` bytes, two's complement if `signed`.
    fn push_int(&mut self, len: usize, signed: bool) -> Result<(), String> {
        let bytes = self.take(len)?;
        if len > 8 {
            return Err(format!("holds an integer of {len} bytes, but 8 suffice for any size"));
        }
        let negative = signed && bytes.last().is_some_and(|byte| byte & 0x80 != 0);
        let mut wide = [if negative { 0xff } else { 0 }; 8];
        wide[..len].copy_from_slice(bytes);
        self.stack.push(Value::Int(i64::from_le_bytes(wide)));
        Ok(())
    }

    fn pop(&mut self) -> Result<Value<'a>, String> {
        self.stack.pop().ok_or_else(underflow)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.input.split_at_checked(len).ok_or_else(|| "ends in the middle".to_string())?;
        self.input = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, String> {
        Ok(self.take(1)?[0])
    }

    fn u32(&mut self) -> Result<u32, String> {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(self.take(4)?);
        Ok(u32::from_le_bytes(bytes))
    }

    fn u64(&mut self) -> Result<u64, String> {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(self.take(8)?);
        Ok(u64::from_le_bytes(bytes))
    }

    fn line(&mut self) -> Result<&'a str, String> {
        let end = self.input.iter().position(|&byte| byte == b'\n').ok_or_else(|| "ends in the middle".to_string())?;
        let line = self.take(end + 1)?;
        text_of(&line[..end])
    }
}

fn text_of(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|_| "holds text that is not UTF-8".to_string())
}

fn underflow() -> String {
    "takes more values from its stack than it put there".to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is wrong with protocol 4's opcodes `code`, framed as far as they go.
    fn refusal(code: &[u8]) -> String {
        let framed = [b"\x80\x04\x95".as_slice(), &(code.len() as u64).to_le_bytes(), code].concat();
        read_state_dict(&framed).expect_err("refused")
    }

    /// An empty dictionary is the smallest pickle that is read; each of the others is it, damaged.
    #[test]
    fn protocol_4_is_read_with_care() {
        assert_eq!(read_state_dict(b"\x80\x04\x95\x02\0\0\0\0\0\0\0}."), Ok(Vec::new()));
        let promised = read_state_dict(b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\xff}.");
        assert_eq!(promised, Err("ends in the middle".to_owned()), "a frame longer than the file");
        assert_eq!(
            refusal(b"\x8d\xff\xff\xff\xff\xff\xff\xff\xffa."),
            "ends in the middle",
            "text longer than the file"
        );
        assert_eq!(refusal(b"\x8c\x01\xff."), "holds text that is not UTF-8");
        assert_eq!(refusal(b"\x94."), underflow(), "nothing to remember");
        assert_eq!(refusal(b"}h\x00."), "reads memo slot 0 before it is set");
        assert_eq!(refusal(b"}}\x93."), "asks for a function whose name is not text");
        let many = [b"}".as_slice(), &vec![0x94; MEMO_MAX + 1], b"."].concat();
        assert_eq!(refusal(&many), "remembers more than 1048576 values");
        let call = refusal(b"\x8c\x05posix\x8c\x06system\x93\x8c\x02id\x85R.");
        assert!(call.starts_with("asks for posix.system, which is not needed"), "{call}");
        assert_eq!(
            read_state_dict(b"\x80\x06}."),
            Err("is a pickle of protocol 6, but only 2 to 5 are read".to_owned())
        );
    }

    /// Not followed: a dictionary that holds itself, and one beside which nothing is a model.
    #[test]
    fn a_dictionary_without_tensors_is_refused() {
        let itself = read_state_dict(b"\x80\x02}q\x00X\x01\0\0\0ah\x00s.");
        assert_eq!(itself, Err("holds something other than a tensor under \"a\"".to_owned()));
        let other = read_state_dict(b"\x80\x02}X\x01\0\0\0a}X\x01\0\0\0bK\x07ss.");
        assert_eq!(other, Err("holds something other than a tensor under \"a\"".to_owned()));
    }
}
