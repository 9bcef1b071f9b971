//! What a file looks like that is no bundle, so that a refusal can say what to do with it.
//!
//! A guess from the first bytes: it is shown to people and chooses an importer, which then reads the
//! whole file and may still refuse it.

/// What bytes look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Foreign {
    /// Nothing at all.
    Empty,
    /// A model as LightGBM saves it.
    LightGbm,
    /// An ONNX model.
    Onnx,
    /// Weights in the safetensors format.
    Safetensors,
    /// A model as XGBoost saves it, in JSON or UBJSON.
    XgBoost,
    /// A model as CatBoost saves it.
    CatBoost,
    /// A zip archive, as PyTorch and Keras save.
    Zip,
    /// A Python pickle.
    Pickle,
    /// Gzip or Zstandard.
    Compressed,
    /// Other JSON.
    Json,
    /// None of these.
    Unknown,
}

impl Foreign {
    /// What these bytes look like.
    pub fn detect(bytes: &[u8]) -> Self {
        let after_space = bytes.trim_ascii_start();
        match bytes {
            _ if after_space.is_empty() => Foreign::Empty,
            [b'P', b'K', 3, 4, ..] => Foreign::Zip,
            [0x1f, 0x8b, ..] | [0x28, 0xb5, 0x2f, 0xfd, ..] => Foreign::Compressed,
            [0x80, 2..=5, ..] => Foreign::Pickle,
            [b'C', b'B', b'M', b'1', ..] => Foreign::CatBoost,
            [b'{', b'L', ..] | [b'b', b'i', b'n', b'f', ..] => Foreign::XgBoost,
            _ if after_space.starts_with(b"tree") && contains(head(bytes), b"version=") => {
                Foreign::LightGbm
            }
            _ if is_safetensors(bytes) => Foreign::Safetensors,
            _ if is_onnx(bytes) => Foreign::Onnx,
            _ if after_space[0] == b'{' && contains(head(bytes), b"\"learner\"") => {
                Foreign::XgBoost
            }
            _ if matches!(after_space[0], b'{' | b'[') => Foreign::Json,
            _ => Foreign::Unknown,
        }
    }
}

impl std::fmt::Display for Foreign {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Foreign::Empty => "the file is empty",
            Foreign::LightGbm => {
                "this is a LightGBM text model: import it with `reckon models import`"
            }
            Foreign::Onnx => "this is an ONNX model: import it with `reckon models import`",
            Foreign::Safetensors => {
                "these are weights in the safetensors format: import them with `reckon models import`"
            }
            Foreign::XgBoost => {
                "this is an XGBoost model: convert it to ONNX with onnxmltools, then import that with \
                 `reckon models import`"
            }
            Foreign::CatBoost => {
                "this is a CatBoost model: save it with format=\"onnx\", then import that with \
                 `reckon models import`"
            }
            Foreign::Zip => {
                "this is a zip archive, as PyTorch and Keras save: export the model to ONNX, or its \
                 weights to safetensors, then import that with `reckon models import`"
            }
            Foreign::Pickle => {
                "this is a Python pickle, which is a program and is not run: export the model to ONNX, \
                 or its weights to safetensors"
            }
            Foreign::Compressed => "this is compressed: unpack it first",
            Foreign::Json => "this is JSON, and no model that Reckon knows",
            Foreign::Unknown => {
                "it begins like nothing that Reckon knows; LightGBM's text, ONNX and safetensors can \
                 be imported with `reckon models import`"
            }
        })
    }
}

/// What is looked at.
fn head(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len().min(4096)]
}

fn contains(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window == word)
}

/// The length of a JSON header, then that header.
fn is_safetensors(bytes: &[u8]) -> bool {
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else { return false };
    let length = u64::from_le_bytes(*length);
    rest.first() == Some(&b'{') && (2..=rest.len() as u64).contains(&length)
}

/// Field 1 is the version of the format, a small number; a field of a model follows: a name (2, 3, 4),
/// a number (5), a text (6), the graph (7) or the sets of operators (8).
fn is_onnx(bytes: &[u8]) -> bool {
    matches!(bytes, [0x08, 1..=64, 0x12 | 0x1a | 0x22 | 0x28 | 0x32 | 0x3a | 0x42, ..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_their_first_bytes() {
        let cases: [(&[u8], Foreign); 13] = [
            (b"", Foreign::Empty),
            (b" \n", Foreign::Empty),
            (b"tree\nversion=v4\nnum_class=1\n", Foreign::LightGbm),
            (b"tree of life", Foreign::Unknown),
            (b"\x08\x08\x12\x07pytorch", Foreign::Onnx),
            (b"\x02\0\0\0\0\0\0\0{}", Foreign::Safetensors),
            (b"\x03\0\0\0\0\0\0\0{}", Foreign::Unknown),
            (b"{\"learner\":{}}", Foreign::XgBoost),
            (b"{\"a\":1}", Foreign::Json),
            (b"PK\x03\x04....", Foreign::Zip),
            (b"\x80\x04\x95", Foreign::Pickle),
            (b"\x1f\x8b\x08", Foreign::Compressed),
            (b"CBM1....", Foreign::CatBoost),
        ];
        for (bytes, expected) in cases {
            assert_eq!(Foreign::detect(bytes), expected, "{bytes:?}");
        }
    }
}
