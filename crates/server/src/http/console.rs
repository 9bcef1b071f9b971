//! `GET /console/`: the page for people, out of the binary itself.
//!
//! The files are compiled in by `build.rs`, plain and gzipped, so that one binary is the whole
//! system and a page never meets an interface of another version. Names below `assets/` carry a hash
//! of what they hold and are kept for ever; everything else is asked for again each time, and answered
//! with 304 where it is the same. The page is open: what it shows it asks for with the viewer's key.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use xxhash_rust::xxh3::xxh3_64;

use super::Problem;
use crate::app::App;

/// One file of the console as it was built.
#[derive(Debug)]
struct File {
    /// Below `/console/`.
    path: &'static str,
    plain: &'static [u8],
    /// Only where it is smaller.
    gzip: Option<&'static [u8]>,
}

/// All of them; empty where the binary was built without.
static FILES: &[File] = include!(concat!(env!("OUT_DIR"), "/console_files.rs"));

/// Scripts, styles and connections of this server only: neither text that found its way into the page
/// nor another site can run anything or carry anything away.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
     require-trusted-types-for 'script'";
const FOR_EVER: &str = "public, max-age=31536000, immutable";
const ASK_AGAIN: &str = "no-cache";
const NOT_BUILT: &str = "<!doctype html>
<html lang=\"en\">
<meta charset=\"utf-8\">
<meta name=\"viewport\" content=\"width=device-width\">
<meta name=\"color-scheme\" content=\"light dark\">
<title>Reckon: no console in this build</title>
<h1>This build has no console</h1>
<p>The server runs; only its page was not built in. The console needs Node to be built:
run <code>make build</code> in the source folder and start the binary that it makes.</p>
<p>Everything the console shows can be asked for without it:
<a href=\"/openapi.json\">/openapi.json</a> describes the interface.</p>
</html>
";

/// The routes.
pub fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/console", get(|| async { Redirect::permanent("/console/") }))
        .route("/console/", get(page))
        .route("/console/{*path}", get(page))
}

/// True where the page was built into this binary.
pub const fn is_built_in() -> bool {
    !FILES.is_empty()
}

async fn page(uri: Uri, headers: HeaderMap) -> Response {
    // As it was sent: no name of ours needs an escape.
    let path = match uri.path().strip_prefix("/console/") {
        None | Some("") => "index.html",
        Some(path) => path,
    };
    match decide(FILES, path, &headers) {
        Reply::Send { file, coding } => send(file, coding),
        Reply::Unchanged(file) => unchanged(file),
        Reply::NotBuilt => not_built(),
        Reply::NoSuchFile => {
            Problem::not_found("the console has no such file; it starts at /console/")
                .into_response()
        }
    }
}

/// How a file travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Plain,
    Gzip(&'static [u8]),
}

/// What is answered.
#[derive(Debug)]
enum Reply {
    Send {
        file: &'static File,
        coding: Coding,
    },
    /// The client has it.
    Unchanged(&'static File),
    /// The page was asked for, and this binary has none.
    NotBuilt,
    NoSuchFile,
}

fn decide(files: &'static [File], path: &str, headers: &HeaderMap) -> Reply {
    let Some(file) = files.iter().find(|file| file.path == path) else {
        let is_page = path == "index.html";
        return if is_page && files.is_empty() { Reply::NotBuilt } else { Reply::NoSuchFile };
    };
    if has_tag(headers, &file.tag()) {
        return Reply::Unchanged(file);
    }
    let coding = match file.gzip {
        Some(gzip) if takes_gzip(headers) => Coding::Gzip(gzip),
        _ => Coding::Plain,
    };
    Reply::Send { file, coding }
}

impl File {
    /// Weak, because both codings of the file carry it.
    fn tag(&self) -> String {
        format!("W/\"{:016x}\"", xxh3_64(self.plain))
    }

    fn cache_control(&self) -> &'static str {
        if self.path.starts_with("assets/") { FOR_EVER } else { ASK_AGAIN }
    }

    fn media_type(&self) -> &'static str {
        match self.path.rsplit_once('.').map(|(_, extension)| extension) {
            Some("html") => "text/html; charset=utf-8",
            Some("js") => "text/javascript; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some("svg") => "image/svg+xml",
            Some("png") => "image/png",
            Some("woff2") => "font/woff2",
            Some("json") => "application/json",
            Some("txt") => "text/plain; charset=utf-8",
            _ => "application/octet-stream",
        }
    }
}

/// True where `If-None-Match` names the tag; compared weakly, as RFC 9110 wants it for `GET`.
fn has_tag(headers: &HeaderMap, tag: &str) -> bool {
    let bare = |text: &str| text.trim().trim_start_matches("W/").to_owned();
    let tag = bare(tag);
    let known = headers.get_all(header::IF_NONE_MATCH).iter();
    known
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|known| known.trim() == "*" || bare(known) == tag)
}

/// True where `Accept-Encoding` names gzip, or everything, with a weight above nought.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT_ENCODING).iter();
    let mut weights = accepted
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(coding_and_weight)
        .filter(|(name, _)| ["gzip", "x-gzip", "*"].contains(&name.as_str()))
        .collect::<Vec<_>>();
    // What is named counts before what "*" says of all the others.
    weights.sort_by_key(|(name, _)| name == "*");
    weights.first().is_some_and(|&(_, weight)| weight > 0.0)
}

/// `gzip;q=0.5` as its name and weight.
fn coding_and_weight(text: &str) -> (String, f32) {
    let (name, parameters) = text.split_once(';').unwrap_or((text, ""));
    let weight = parameters.trim().strip_prefix("q=").map_or(Ok(1.0), str::parse);
    (name.trim().to_ascii_lowercase(), weight.unwrap_or(0.0))
}

fn send(file: &File, coding: Coding) -> Response {
    let (bytes, encoding) = match coding {
        Coding::Plain => (file.plain, None),
        Coding::Gzip(gzip) => (gzip, Some(HeaderValue::from_static("gzip"))),
    };
    let mut response = Response::new(Body::from(Bytes::from_static(bytes)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(file.media_type()));
    headers.extend(encoding.map(|encoding| (header::CONTENT_ENCODING, encoding)));
    keep(headers, file);
    guard(headers);
    response
}

fn unchanged(file: &File) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    keep(response.headers_mut(), file);
    guard(response.headers_mut());
    response
}

fn not_built() -> Response {
    let mut response = Response::new(Body::from(NOT_BUILT));
    *response.status_mut() = StatusCode::NOT_FOUND;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    guard(headers);
    response
}

/// Says how long it may be kept, and under which tag it is asked for again.
fn keep(headers: &mut HeaderMap, file: &File) {
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(file.cache_control()));
    headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    let tag = HeaderValue::from_str(&file.tag()).expect("hexadecimal digits");
    headers.insert(header::ETAG, tag);
}

/// What keeps the page from doing anything that it was not built to do.
fn guard(headers: &mut HeaderMap) {
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
}

#[cfg(test)]
mod tests {
    use super::*;

    static SITE: &[File] = &[
        File { path: "assets/page-4f.js", plain: b"let page = 1;", gzip: Some(b"packed") },
        File { path: "index.html", plain: b"<!doctype html>", gzip: None },
    ];

    fn with(pairs: &[(header::HeaderName, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, HeaderValue::from_static(value));
        }
        headers
    }

    fn gzip_for(accepted: &'static str) -> bool {
        let headers = with(&[(header::ACCEPT_ENCODING, accepted)]);
        match decide(SITE, "assets/page-4f.js", &headers) {
            Reply::Send { coding, .. } => coding == Coding::Gzip(b"packed"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn gzip_goes_to_who_takes_it() {
        let takes = ["gzip", "gzip, deflate, br, zstd", "br;q=1.0, GZIP;q=0.8", "*", "x-gzip"];
        let leaves = ["", "br", "identity", "gzip;q=0", "*;q=0, br", "*, gzip;q=0", "gzip;q=most"];
        for accepted in takes {
            assert!(gzip_for(accepted), "{accepted:?}");
        }
        for accepted in leaves {
            assert!(!gzip_for(accepted), "{accepted:?}");
        }
    }

    #[test]
    fn what_has_no_smaller_form_goes_plain() {
        let reply = decide(SITE, "index.html", &with(&[(header::ACCEPT_ENCODING, "gzip")]));
        assert!(matches!(reply, Reply::Send { coding: Coding::Plain, .. }), "{reply:?}");
    }

    #[test]
    fn the_tag_of_another_file_is_not_taken_for_this_one() {
        let tag = SITE[1].tag();
        let known = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_NONE_MATCH, text.parse().expect("a value"));
            matches!(decide(SITE, "index.html", &headers), Reply::Unchanged(_))
        };
        let strong = tag.trim_start_matches("W/").to_owned();
        for text in [tag.clone(), strong, format!("\"a\", {tag}"), "*".to_owned()] {
            assert!(known(&text), "{text}");
        }
        assert!(!known(&SITE[0].tag()) && !known("\"\""));
    }

    #[test]
    fn only_hashed_names_are_kept_for_ever() {
        assert_eq!([SITE[0].cache_control(), SITE[1].cache_control()], [FOR_EVER, ASK_AGAIN]);
    }

    #[test]
    fn a_build_without_the_page_says_so_for_the_page_only() {
        let nothing = HeaderMap::new();
        assert!(matches!(decide(&[], "index.html", &nothing), Reply::NotBuilt));
        assert!(matches!(decide(&[], "assets/page-4f.js", &nothing), Reply::NoSuchFile));
        assert!(matches!(decide(SITE, "assets/page-00.js", &nothing), Reply::NoSuchFile));
        assert!(matches!(decide(SITE, "../Cargo.toml", &nothing), Reply::NoSuchFile));
        assert_eq!(not_built().status(), StatusCode::NOT_FOUND);
    }
}
