//! Files of several kinds, honest and crafted.
//!
//! The crafted ones are honest files with bytes changed, packed anew with right checksums. Fixtures:
//! `tests/models/make_models.py`.

use std::io::{Cursor, Read, Write};

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use super::*;
use crate::trainer::TorchScriptModel;

const BASELINE: &[u8] = include_bytes!("../../../models/baseline-ecfp4-mlp.pt");
const LINEAR: &[u8] = include_bytes!("../../../tests/models/linear.pt");
const RESIDUAL: &[u8] = include_bytes!("../../../tests/models/residual.pt");
const ATTENTION: &[u8] = include_bytes!("../../../tests/models/attention.pt");

/// The records of an archive, to be changed and packed again.
#[derive(Clone)]
struct Unpacked(Vec<(String, Vec<u8>)>);

impl Unpacked {
    fn of(file: &[u8]) -> Self {
        let mut archive = ZipArchive::new(Cursor::new(file)).unwrap();
        let records = (0..archive.len()).map(|index| {
            let mut record = archive.by_index(index).unwrap();
            let mut bytes = Vec::new();
            record.read_to_end(&mut bytes).unwrap();
            (record.name().unwrap().into_owned(), bytes)
        });
        Self(records.collect())
    }

    fn record(&mut self, path: &str) -> &mut Vec<u8> {
        let path = format!("archive/{path}");
        &mut self.0.iter_mut().find(|(name, _)| *name == path).unwrap().1
    }

    fn with(mut self, path: &str, bytes: &[u8]) -> Self {
        self.0.push((path.to_owned(), bytes.to_vec()));
        self
    }

    /// Replaces the only occurrence of some bytes in a record.
    fn patched(mut self, path: &str, from: &[u8], to: &[u8]) -> Self {
        let record = self.record(path);
        let places: Vec<usize> =
            (0..record.len()).filter(|place| record[*place..].starts_with(from)).collect();
        assert_eq!(places.len(), 1, "{from:?} occurs {} times", places.len());
        record.splice(places[0]..places[0] + from.len(), to.iter().copied());
        self
    }

    fn without(mut self, path: &str) -> Self {
        self.0.retain(|(name, _)| *name != format!("archive/{path}"));
        self
    }

    fn packed(&self) -> Vec<u8> {
        self.packed_deflating(|_| false)
    }

    fn packed_deflating(&self, deflated: impl Fn(&str) -> bool) -> Vec<u8> {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, bytes) in &self.0 {
            let method = if deflated(name) { CompressionMethod::Deflated } else { CompressionMethod::Stored };
            writer.start_file(name, SimpleFileOptions::default().compression_method(method)).unwrap();
            writer.write_all(bytes).unwrap();
        }
        writer.finish().unwrap().into_inner()
    }

    fn refusal(&self) -> ArchiveError {
        match CheckedArchive::read(&self.packed()) {
            Err(ModelError::Archive(error)) => error,
            other => panic!("the file must be refused, not {:?}", other.map(|read| read.tensors)),
        }
    }
}

fn linear() -> Unpacked {
    Unpacked::of(LINEAR)
}

/// A pickle instruction that pushes an integer below 65536.
fn short(number: u16) -> [u8; 3] {
    let [low, high] = number.to_le_bytes();
    [b'M', low, high]
}

/// A pickle instruction that pushes an integer.
fn long(number: i64) -> Vec<u8> {
    [&[0x8a, 8][..], &number.to_le_bytes()].concat()
}

/// The weight's storage claim, up to the number of its elements: 8192 of four bytes.
fn claimed() -> Vec<u8> {
    [&short(8192)[..], b"tQ"].concat()
}

/// The weight's shape: 4 x 2048.
fn shape() -> Vec<u8> {
    [b"(K\x04", &short(2048)[..], b"t"].concat()
}

/// The weight's strides.
fn strides() -> Vec<u8> {
    [b"(", &short(2048)[..], b"K\x01t"].concat()
}

#[test]
fn honest_models_of_several_kinds_pass_and_load() {
    for (file, tensors) in [(BASELINE, 6), (LINEAR, 2), (RESIDUAL, 16), (ATTENTION, 22)] {
        let read = CheckedArchive::read(file).unwrap();
        assert_eq!((read.buffers.as_slice(), read.tensors), (&[][..], tensors));
        TorchScriptModel::from_bytes(file.to_vec()).unwrap();
    }
}

#[test]
fn what_was_written_here_is_read_again() {
    let once = CheckedArchive::read(RESIDUAL).unwrap();
    let twice = CheckedArchive::read(&once.canonical).unwrap();
    assert_eq!(once, twice);
}

#[test]
fn other_files_are_not_torchscript() {
    for file in [&b""[..], b"PK\x03\x04", b"import torch", &[0; 4096]] {
        assert_eq!(CheckedArchive::read(file), Err(ModelError::NotTorchScript));
    }
}

#[test]
fn libtorch_gets_no_record_that_was_not_read() {
    let plain = CheckedArchive::read(LINEAR).unwrap();
    let more = linear()
        .with("archive/code/__torch__.py.debug_pkl", b"\x80\x02cposix\nsystem\n.")
        .with("archive/extra/notes.txt", b"notes")
        .with("archive/model.json", b"{}")
        .with("archive/bytecode.pkl", b".");
    assert_eq!(CheckedArchive::read(&more.packed()).unwrap(), plain);
}

#[test]
fn false_claims_about_tensors_are_refused() {
    let cases: [(&str, Vec<u8>, Vec<u8>); 12] = [
        ("a longer side", shape(), [b"(K\x40", &short(2048)[..], b"t"].concat()),
        ("a side of another tensor", shape(), [b"(K\x05", &short(2048)[..], b"t"].concat()),
        ("a negative side", shape(), [b"(J\xff\xff\xff\xff", &short(2048)[..], b"t"].concat()),
        (
            "sides whose product overflows",
            shape(),
            [b"(", &long(1 << 33)[..], &long(1 << 31)[..], b"t"].concat(),
        ),
        ("no elements", shape(), [b"(K\x00", &short(2048)[..], b"t"].concat()),
        ("a wider stride", strides(), [b"(", &short(4096)[..], b"K\x01t"].concat()),
        ("a stride of zero", strides(), b"(K\x00K\x01t".to_vec()),
        ("a negative stride", strides(), [b"(", &long(-2048)[..], b"K\x01t"].concat()),
        ("an offset", [b"K\x00", &shape()[..]].concat(), [b"K\x01", &shape()[..]].concat()),
        ("a negative offset", [b"K\x00", &shape()[..]].concat(), [&long(-1)[..], &shape()[..]].concat()),
        ("a longer storage", claimed(), [&short(8193)[..], b"tQ"].concat()),
        ("a shorter storage", claimed(), [&short(8191)[..], b"tQ"].concat()),
    ];
    for (what, from, to) in cases {
        let error = linear().patched("data.pkl", &from, &to).refusal();
        assert!(matches!(error, ArchiveError::Pickle { record: "data.pkl", .. }), "{what}: {error}");
    }
}

#[test]
fn storages_must_be_their_records() {
    let mut short_record = linear();
    short_record.record("data/0").truncate(32_764);
    let mut long_record = linear();
    long_record.record("data/0").extend([0; 4]);
    let cases = [
        ("a short record", short_record),
        ("a long record", long_record),
        ("no record", linear().without("data/0")),
        ("a record too many", linear().with("archive/data/7", &[0; 8])),
        ("another type", linear().patched("data.pkl", b"FloatStorage", b"DoubleStorage")),
        ("an unknown type", linear().patched("data.pkl", b"FloatStorage", b"QUInt8Storage")),
        ("another device", linear().patched("data.pkl", b"\x03\0\0\0cpu", b"\x06\0\0\0cuda:0")),
        ("one record twice", linear().patched("data.pkl", b"X\x01\0\0\x001", b"X\x01\0\0\x000")),
    ];
    for (what, file) in cases {
        let error = file.refusal();
        assert!(
            matches!(error, ArchiveError::Pickle { .. } | ArchiveError::Record { .. }),
            "{what}: {error}"
        );
    }
}

/// A pickle of constants: tensors of four numbers, each of a storage of its own or all of the first one.
fn constants(count: u8, shared: bool) -> Vec<u8> {
    let mut pickle = b"\x80\x02(".to_vec();
    for tensor in 0..count {
        pickle.extend(b"ctorch._utils\n_rebuild_tensor_v2\n(");
        if tensor == 0 || !shared {
            pickle.extend(b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\0");
            pickle.extend([b'0' + tensor, b'X', 3, 0, 0, 0]);
            pickle.extend([&b"cpuK\x04tQq"[..], &[tensor]].concat());
        } else {
            pickle.extend(b"h\0");
        }
        pickle.extend(b"K\0(K\x04t(K\x01t\x89ccollections\nOrderedDict\n)RtR");
    }
    pickle.extend(b"t.");
    pickle
}

#[test]
fn constants_are_read_like_the_state() {
    let mut file = linear().with("archive/constants/0", &[0; 16]);
    *file.record("constants.pkl") = constants(1, false);
    let plain = CheckedArchive::read(LINEAR).unwrap();
    assert_eq!(CheckedArchive::read(&file.packed()).unwrap().tensors, plain.tensors);
    TorchScriptModel::from_bytes(file.packed()).unwrap();
    *file.record("constants.pkl") = constants(2, true);
    assert!(matches!(
        file.refusal(),
        ArchiveError::Pickle { rule: "two tensors share one storage: give each a copy of its own", .. }
    ));
    *file.record("constants.pkl") = constants(2, false);
    assert!(matches!(file.refusal(), ArchiveError::Pickle { .. }));
}

#[test]
fn other_instructions_are_refused() {
    let body: &[u8] = b"\x80\x02)";
    let pickles: [(&str, Vec<u8>); 14] = [
        ("nothing", Vec::new()),
        ("another protocol", b"\x80\x04).".to_vec()),
        ("no end", body.to_vec()),
        ("two values", [body, b")."].concat()),
        ("bytes behind the end", [body, b".."].concat()),
        ("a call of any function", [body, b"0cposix\nsystem\n(X\x02\0\0\0idtR."].concat()),
        ("a class that is not the file's", b"\x80\x02c__torch__.torch.classes\nA\n)\x81}(ub.".to_vec()),
        ("an integer for a function", b"\x80\x02K\x00)R.".to_vec()),
        ("a copy of the stack's top", [body, b"2."].concat()),
        ("a number that was never given", [body, b"h\x07."].concat()),
        ("a number out of order", [body, b"r\xff\xff\xff\xff."].concat()),
        ("an empty stack", b"\x80\x02tR.".to_vec()),
        ("marks without end", [b"\x80\x02", "(".repeat(100_000).as_bytes()].concat()),
        ("tuples in tuples", [body, &b"\x85".repeat(100_000)[..], b"."].concat()),
    ];
    for (what, pickle) in pickles {
        for record in ["data.pkl", "constants.pkl"] {
            let mut file = linear();
            *file.record(record) = pickle.clone();
            let error = file.refusal();
            assert!(matches!(error, ArchiveError::Pickle { .. }), "{what}: {error}");
        }
    }
}

#[test]
fn values_that_double_are_bounded() {
    // Each step makes a pair of the last value with itself: 2^60 values in a few hundred bytes.
    let mut pickle = b"\x80\x02)q\x00".to_vec();
    for step in 0..60_u8 {
        pickle.extend([b'h', step, b'h', step, 0x86, b'q', step + 1]);
    }
    pickle.push(b'.');
    let mut file = linear();
    *file.record("data.pkl") = pickle;
    assert!(matches!(
        file.refusal(),
        ArchiveError::Pickle { rule: "modules or lists are nested too deeply, or are too many", .. }
    ));
}

#[test]
fn attributes_must_be_what_their_class_declares() {
    let cases = [
        (
            "an integer for a tensor",
            linear().patched("code/__torch__/torch/nn/modules/linear.py", b"bias : Tensor", b"bias : int"),
        ),
        (
            "a class for another",
            linear().patched(
                "code/__torch__.py",
                b"heads : __torch__.torch.nn.modules.linear.Linear",
                b"heads : __torch__.Linear",
            ),
        ),
        (
            "an attribute too few",
            linear().patched(
                "code/__torch__.py",
                b"  training : bool\n",
                b"  training : bool\n  more : int\n",
            ),
        ),
        ("an attribute too many", linear().patched("code/__torch__.py", b"  training : bool\n", b"")),
        (
            "a type that is not read",
            linear().patched("code/__torch__.py", b"training : bool", b"training : Any"),
        ),
        (
            "a list under another tag",
            Unpacked::of(RESIDUAL).patched("code/__torch__.py", b"names : List[str]", b"names : List[int]"),
        ),
        (
            "another tag",
            Unpacked::of(RESIDUAL).patched("data.pkl", b"\x09\0\0\0List[str]", b"\x09\0\0\0List[int]"),
        ),
        (
            "a tuple of another type",
            Unpacked::of(RESIDUAL).patched(
                "code/__torch__.py",
                b"Tuple[int, float, str]",
                b"Tuple[int, float, int]",
            ),
        ),
    ];
    for (what, file) in cases {
        let error = file.refusal();
        assert!(matches!(error, ArchiveError::Pickle { .. }), "{what}: {error}");
    }
}

#[test]
fn archives_that_could_be_read_in_two_ways_are_refused() {
    let record = |error: ArchiveError| matches!(error, ArchiveError::Record { .. });
    assert!(record(
        linear()
            .with("archive/DATA/0", &[0; 4])
            .with("archive/data/A", b"")
            .with("archive/data/a", b"")
            .refusal()
    ));
    assert!(record(linear().with("other/data.pkl", b"").refusal()));
    assert!(record(linear().with("archive/data/\u{e9}", b"").refusal()));
    assert!(record(linear().with("archive/.data/version", b"3\n").refusal()));
    assert!(record(linear().without("version").refusal()));
    assert!(record(linear().without("constants.pkl").refusal()));
    let mut big = linear();
    *big.record("byteorder") = b"big".to_vec();
    assert!(record(big.refusal()));
    let mut long = linear();
    long.record("code/__torch__.py").extend(b"\n".repeat(MAX_TEXT_BYTES));
    assert!(record(long.refusal()));
}

#[test]
fn records_but_code_must_be_stored_and_all_apart() {
    let file = linear().packed();
    let read = |bytes: &[u8]| CheckedArchive::read(bytes);
    // Code and what libtorch does not get may be compressed, as torch.jit.save does it: the same is read.
    let honest = read(&file).unwrap();
    let debug = linear().with("archive/code/__torch__.py.debug_pkl", b"not looked at");
    assert_eq!(read(&debug.packed_deflating(|path| path.starts_with("archive/code/"))).unwrap(), honest);
    for record in ["data.pkl", "constants.pkl", "data/0", "version"] {
        let deflated = linear().packed_deflating(|path| path.ends_with(record));
        let refused = read(&deflated).unwrap_err().to_string();
        assert!(refused.contains("only code may be"), "{record}: {refused}");
    }
    // A bomb is not inflated beyond the limit.
    let mut bomb = linear();
    bomb.record("code/__torch__.py").extend(b"\n".repeat(64 * MAX_TEXT_BYTES));
    let bomb = bomb.packed_deflating(|path| path.ends_with("__torch__.py"));
    assert!(bomb.len() < MAX_TEXT_BYTES);
    assert!(read(&bomb).unwrap_err().to_string().contains("larger than 4 MiB"));
    // The directory's second entry points to the first record.
    let entries: Vec<usize> =
        (0..file.len()).filter(|place| file[*place..].starts_with(b"PK\x01\x02")).collect();
    let mut overlapping = file.clone();
    overlapping.copy_within(entries[0] + 42..entries[0] + 46, entries[1] + 42);
    assert!(read(&overlapping).is_err());
    let mut changed = file;
    changed[200] ^= 1;
    assert!(matches!(
        read(&changed),
        Err(ModelError::Archive(ArchiveError::Record { rule: "its checksum is wrong", .. }))
    ));
}

/// Random changes of honest files: an error, or a description that libtorch loads, trains and writes safely.
#[test]
fn changed_files_are_refused_or_load_safely() {
    let mut random = ChaCha12Rng::seed_from_u64(11);
    let (mut refused, mut loaded) = (0, 0);
    for (name, base) in [("linear", LINEAR), ("residual", RESIDUAL), ("attention", ATTENTION)] {
        let base = Unpacked::of(base);
        for _ in 0..700 {
            let mut file = base.clone();
            let path = match random.next_u32() % 8 {
                0 => "code/__torch__.py",
                1 => "constants.pkl",
                _ => "data.pkl",
            };
            let record = file.record(path);
            for _ in 0..=random.next_u32() % 3 {
                let place = usize::try_from(random.next_u32()).unwrap() % record.len();
                let byte = random.next_u32().to_le_bytes()[0];
                match random.next_u32() % 4 {
                    0 => record[place] = byte,
                    1 => record[place] ^= 1 << (byte % 8),
                    2 => {
                        record.remove(place);
                    }
                    _ => record.insert(place, byte),
                }
            }
            let packed = file.packed();
            match CheckedArchive::read(&packed) {
                Err(_) => refused += 1,
                Ok(_) => {
                    loaded += 1;
                    // Errors of libtorch's compiler are fine; what loads is written to and read in full.
                    if let Ok(model) = TorchScriptModel::from_bytes(packed) {
                        let changed: Vec<f32> =
                            model.initial_parameters().iter().map(|value| value + 1.0).collect();
                        let again = model.load(&changed, tch::Device::Cpu).unwrap().parameters().unwrap();
                        assert_eq!(again, changed, "{name}");
                    }
                }
            }
        }
    }
    assert!(refused > 1_000 && loaded > 20, "{refused} refused, {loaded} loaded");
}

/// Random changes of the packed file: never a panic, and what passes holds the same records.
#[test]
fn changed_archives_never_panic() {
    let mut random = ChaCha12Rng::seed_from_u64(12);
    let honest = CheckedArchive::read(LINEAR).unwrap();
    for _ in 0..2_000 {
        let mut file = LINEAR.to_vec();
        for _ in 0..=random.next_u32() % 4 {
            // Most changes where the archive's own bytes are.
            let back = usize::try_from(random.next_u32()).unwrap() % 3_000;
            let place = file.len() - 1 - back;
            file[place] = random.next_u32().to_le_bytes()[0];
        }
        if let Ok(read) = CheckedArchive::read(&file) {
            assert_eq!(read.tensors, honest.tensors);
        }
    }
}
