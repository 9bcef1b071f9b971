//! `reckon erase`: erases a person, and prints what proves it.

#![expect(clippy::print_stdout, reason = "the proof is the command's data")]

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::Result;
use axum::http::Method;
use serde_json::Value;

use super::books::{ask, print_body, text};
use super::client::Call;
use crate::args::Erase;

/// Erases, and prints the proof for people or as JSON.
pub fn run(asked: &Erase) -> Result<ExitCode> {
    let user: String = percent_encoded(&asked.user);
    let call = Call { method: Method::DELETE, ..Call::get(format!("/v1/users/{user}")) };
    let answer = ask(&asked.server, call, "erase")?;
    if asked.json {
        return print_body(&answer);
    }
    print!("{}", told(&answer.json()?));
    Ok(ExitCode::SUCCESS)
}

/// Every byte that is not a letter or a digit is escaped: an id may hold a slash.
fn percent_encoded(user: &str) -> String {
    let mut encoded = String::new();
    for byte in user.bytes() {
        if byte.is_ascii_alphanumeric() {
            encoded.push(byte.into());
        } else {
            write!(encoded, "%{byte:02X}").expect("a string takes everything");
        }
    }
    encoded
}

fn told(answer: &Value) -> String {
    let (proof, mut out) = (&answer["proof"], String::new());
    let mut line = |text: std::fmt::Arguments<'_>| {
        writeln!(out, "{text}").expect("a string takes everything");
    };
    line(format_args!("{} {}", text(&answer["user_id"]), text(&answer["state"])));
    line(format_args!("pseudonym   {}", text(&answer["pseudonym"])));
    line(format_args!("asked at    {}", text(&answer["asked_at"])));
    line(format_args!(
        "erased at   {}, lake state {}",
        text(&proof["erased_at"]),
        proof["lake_state"]
    ));
    line(format_args!("rows        {} of the person, with a surrogate now", proof["rows"]));
    line(format_args!(
        "files       {} read, {} rewritten, their other values unchanged:",
        proof["files_read"], proof["files_rewritten"]
    ));
    for file in proof["files"].as_array().into_iter().flatten() {
        line(format_args!(
            "  {} -> {}: {} of {} rows, the rest {}",
            text(&file["before"]),
            text(&file["after"]),
            file["rows_changed"],
            file["rows"],
            text(&file["kept_checksum"])
        ));
    }
    let repeats = &proof["repeats"];
    line(format_args!("repeated    {} times, {} rows more", repeats["count"], repeats["rows"]));
    for left in answer["traces_left"].as_array().into_iter().flatten() {
        let until =
            left["until"].as_str().map_or(String::new(), |until| format!(", until {until}"));
        line(format_args!("still in    {}: {}{until}", text(&left["place"]), text(&left["what"])));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_one_part_of_a_path() {
        assert_eq!(percent_encoded("a/b ?9"), "a%2Fb%20%3F9");
    }
}
