//! Operators that no model's code may name.
//!
//! TorchScript can call every operator of libtorch. Among them are some that read and write files of the machine, and
//! some that libtorch's own code calls after checks of its own: they trust offsets, strides and indices. A network of
//! layers needs none of them. This is a list of what is refused, not of what is safe: it closes the known doors.

/// Operators by name.
const NAMES: [&str; 12] = [
    "from_file",
    "save",
    "set_",
    "set_data",
    "resize",
    "resize_",
    "resize_as_",
    "lift",
    "fork",
    "rpc_async",
    "rpc_remote",
    "rpc_sync",
];

/// Parts of operators' names.
const PARTS: [&str; 12] = [
    "unsafe",
    "strided",
    "reshape_alias",
    "nested_view",
    "nested_tensor",
    "sparse_",
    "_resize",
    "mkldnn",
    "cudnn",
    "miopen",
    "quantized",
    "fused_",
];

/// Ends of operators' names: the halves of layers that libtorch's own differentiation calls.
const ENDS: [&str; 3] = ["_backward", "_backward_data", "_backward_impl"];

/// The only namespace behind `ops.`: the compiler's own.
const NAMESPACE: &str = "prim";

/// Whether a statement names an operator that is refused.
pub(super) fn is_refused(statement: &str) -> bool {
    let mut last = "";
    let reads_by_name = statement.contains("getattr");
    // In a text an operator's name could be written with escapes; attributes never are.
    if reads_by_name && statement.contains('\\') {
        return true;
    }
    for (place, piece) in outside_and_inside(statement) {
        if place == Place::Inside && !reads_by_name {
            continue;
        }
        let words =
            piece.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).filter(|word| !word.is_empty());
        for word in words {
            let by_part =
                PARTS.iter().any(|part| word.contains(part)) || ENDS.iter().any(|end| word.ends_with(end));
            if by_part || NAMES.contains(&word) {
                return true;
            }
            if last == "ops" && word != NAMESPACE {
                return true;
            }
            last = word;
        }
    }
    false
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Inside,
    Outside,
}

/// The pieces of a statement outside and inside of texts, in turn.
fn outside_and_inside(statement: &str) -> Vec<(Place, &str)> {
    let (mut pieces, mut start, mut quote, mut escaped) = (Vec::new(), 0, None, false);
    for (index, byte) in statement.bytes().enumerate() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if byte == b'\\' => escaped = true,
            Some(mark) if byte == mark => {
                pieces.push((Place::Inside, statement.get(start..index).unwrap_or("")));
                (quote, start) = (None, index + 1);
            }
            None if matches!(byte, b'"' | b'\'') => {
                pieces.push((Place::Outside, statement.get(start..index).unwrap_or("")));
                (quote, start) = (Some(byte), index + 1);
            }
            Some(_) | None => {}
        }
    }
    pieces.push((Place::Outside, statement.get(start..).unwrap_or("")));
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_unchecked_memory_are_out_of_reach() {
        for statement in [
            "x = torch.from_file(\"/etc/passwd\", True, 3)",
            "x = \"/etc/passwd\".from_file(True, 3)",
            "x = getattr(torch, \"from_file\")(\"/etc/passwd\")",
            "x = getattr(torch, \"\\146rom_file\")(\"/etc/passwd\")",
            "f = torch.from_file",
            "torch.save(x, \"/tmp/x\")",
            "x = torch.as_strided(x, [9], [9])",
            "x = torch._reshape_alias(x, [9], [9])",
            "x = ops.aten.add(x, x)",
            "x = ops . quantized . add(x, x)",
            "x = torch._embedding_bag_backward(x)",
            "from_file : int",
        ] {
            assert!(is_refused(statement), "{statement}");
        }
    }

    #[test]
    fn layers_are_not() {
        for statement in [
            "ops.prim.RaiseException(torch.format(_0, p), \"save and from_file are only words here\")",
            "x = getattr(blocks, \"0\")",
            "x = torch.embedding_bag(input, weight, offsets, False, 0, False)",
            "def embedding_bag(input: Tensor, sparse: bool=False) -> Tensor:",
            "_1 = ops.prim.dtype(x)",
            "_is_full_backward_hook : Optional[bool]",
        ] {
            assert!(!is_refused(statement), "{statement}");
        }
    }
}
