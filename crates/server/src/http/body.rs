//! Request bodies: read whole, bounded as sent and as unpacked.

use std::io::Read;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::problem::Problem;

/// How large a body may be, and how long it may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// As it is sent.
    pub bytes_max: usize,
    /// After decompression.
    pub bytes_decompressed_max: usize,
    /// From head to end.
    pub timeout: Duration,
}

/// Reads a body and undoes its `Content-Encoding` (identity, gzip, zstd).
pub async fn read(headers: &HeaderMap, body: Body, limits: &Limits) -> Result<Bytes, Problem> {
    let collected = Limited::new(body, limits.bytes_max).collect();
    let collected = tokio::time::timeout(limits.timeout, collected).await.map_err(|_elapsed| {
        Problem::new(axum::http::StatusCode::REQUEST_TIMEOUT, "the body took too long")
    })?;
    let bytes = match collected {
        Ok(collected) => collected.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            return Err(Problem::too_large(format!(
                "the body is larger than {} bytes (server.body_bytes_max)",
                limits.bytes_max
            )));
        }
        Err(error) => return Err(Problem::malformed(format!("the body did not arrive: {error}"))),
    };
    let encoding = headers.get(header::CONTENT_ENCODING).map(|value| value.to_str().unwrap_or("?"));
    match encoding.map(str::trim) {
        None | Some("" | "identity") => Ok(bytes),
        Some("gzip" | "x-gzip") => {
            unpack(flate2::read::MultiGzDecoder::new(&*bytes), "gzip", limits)
        }
        Some("zstd") => {
            let decoder = zstd::stream::read::Decoder::new(&*bytes)
                .map_err(|error| Problem::internal(format!("zstd: {error}")))?;
            unpack(decoder, "zstd", limits)
        }
        Some(other) => Err(Problem::new(
            axum::http::StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!("Content-Encoding {other:?} is none of identity, gzip, zstd"),
        )),
    }
}

/// Unpacks no further than the limit, so a bomb costs no more than an honest body.
fn unpack(reader: impl Read, name: &str, limits: &Limits) -> Result<Bytes, Problem> {
    let mut bytes = Vec::new();
    let limit = limits.bytes_decompressed_max as u64;
    reader
        .take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Problem::malformed(format!("the body is not {name}: {error}")))?;
    if bytes.len() as u64 > limit {
        return Err(Problem::too_large(format!(
            "the body unpacks to more than {limit} bytes (server.body_bytes_decompressed_max)"
        )));
    }
    Ok(Bytes::from(bytes))
}
