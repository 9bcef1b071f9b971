//! The commands that keep the books of a running server: recount, close, invoice, explain, SQL.

#![expect(clippy::print_stdout, reason = "the answer is the command's data")]

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::{Context, Result};
use axum::http::header;
use serde_json::{Value, json};

use super::client::{Answer, Call, Client, Retry};
use super::runtime;
use crate::args::{Explain, Invoice, OfDay, Reconcile, Server, Sql};

/// Asks a server with the key of the environment.
pub(super) fn ask(server: &Server, call: Call, what: &str) -> Result<Answer> {
    let key = std::env::var("RECKON_API_KEY").context(
        "set RECKON_API_KEY; `reckon serve` keeps a key with all scopes in DIR/admin.key",
    )?;
    let call = call.retry(Retry::Always);
    let asked = async {
        let mut client = Client::new(&server.to, Some(&key))?;
        client.send(&call).await?.success(what)
    };
    runtime(1)?.block_on(asked)
}

pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// `reckon reconcile`
pub fn reconcile(asked: &Reconcile) -> Result<ExitCode> {
    let mut range = json!({});
    for (name, value) in [("hour", &asked.hour), ("day", &asked.day)] {
        if let Some(value) = value {
            range[name] = value.as_str().into();
        }
    }
    let call = Call::post_json("/v1/reconciliations", &range);
    let report = ask(&asked.server, call, "reconcile")?.json()?;
    if asked.json {
        println!("{report:#}");
    } else {
        print!("{}", told(&report));
    }
    let is_equal = report["equal"] == true;
    Ok(if is_equal { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// A report for people.
fn told(report: &Value) -> String {
    let word = if report["equal"] == true { "equal" } else { "DIFFERENT" };
    let mut out = format!(
        "{} to {} at epoch {}: {word}\ncompared {} records, {} figures, {} checksums\n",
        text(&report["from"]),
        text(&report["to"]),
        report["cut"],
        report["records"],
        report["figures"],
        report["groups"]
    );
    for list in ["damage", "differences", "group_differences", "record_differences"] {
        for one in report[list].as_array().into_iter().flatten() {
            writeln!(out, "{list}: {one}").expect("a string takes everything");
        }
    }
    out
}

/// `reckon close`
pub fn close(asked: &OfDay) -> Result<ExitCode> {
    let call = Call::post_json(format!("/v1/billing/periods/{}/close", asked.day), &json!({}));
    let period = ask(&asked.server, call, "close")?.json()?;
    println!("{} {} at epoch {}", text(&period["day"]), text(&period["state"]), period["cut"]);
    for total in period["totals"].as_array().into_iter().flatten() {
        println!("{total}");
    }
    Ok(ExitCode::SUCCESS)
}

/// `reckon invoice`
pub fn invoice(asked: &Invoice) -> Result<ExitCode> {
    let mut path = format!("/v1/billing/invoices?day={}", asked.of.day);
    if let Some(advertiser) = &asked.advertiser {
        let id: String = url::form_urlencoded::byte_serialize(advertiser.as_bytes()).collect();
        write!(path, "&advertiser_id={id}").expect("a string takes everything");
    }
    let kind = if asked.json { "application/json" } else { "text/csv" };
    let call = Call::get(path).header(header::ACCEPT, kind);
    print_body(&ask(&asked.of.server, call, "invoice")?)
}

/// `reckon explain`
pub fn explain(asked: &Explain) -> Result<ExitCode> {
    let query: String = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("ad_id", &asked.ad)
        .append_pair("minute", &asked.minute)
        .finish();
    let answer = ask(&asked.server, Call::get(format!("/v1/explain?{query}")), "explain")?;
    if asked.json {
        return print_body(&answer);
    }
    let explained = answer.json()?;
    println!("{:<12}{:<28}{:<16}{:<16}{:>12}  id", "what", "when", "first", "in force", "price");
    let records = explained["records"].as_array().into_iter().flatten();
    for one in records.chain(explained["adjustments"].as_array().into_iter().flatten()) {
        let id = [&one["impression"], &one["event_id"]].map(text).join(" ");
        println!(
            "{:<12}{:<28}{:<16}{:<16}{:>12}  {} {}/{}",
            text(&one["kind"]),
            text(&one["happened"]),
            text(&one["first_verdict"]),
            text(&one["verdict"]),
            one["price"],
            id.trim(),
            one["partition"],
            one["offset"]
        );
        for revision in one["revisions"].as_array().into_iter().flatten() {
            println!(
                "{:<12}epoch {}: {} by rules {}",
                "",
                revision["epoch"],
                text(&revision["after"]),
                revision["rules_version"]
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// `reckon sql`
pub fn sql(asked: &Sql) -> Result<ExitCode> {
    let kind = if asked.json { "application/json" } else { "text/csv" };
    let call = Call::post_json("/v1/sql", &json!({ "query": asked.query }));
    print_body(&ask(&asked.server, call.header(header::ACCEPT, kind), "sql")?)
}

pub(super) fn print_body(answer: &Answer) -> Result<ExitCode> {
    let text = std::str::from_utf8(&answer.body).context("the answer is no text")?;
    println!("{}", text.trim_end());
    Ok(ExitCode::SUCCESS)
}
