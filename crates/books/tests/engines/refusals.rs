//! Servers, databases and URLs that will not do: each is refused by a sentence that names the place and
//! the fix, and none of them waits for ever.

use std::net::TcpListener;
use std::time::Duration;

use reckon_books::{Ads, Books, ErrorKind, Leases, PostgresBooks, PostgresOptions};
use reckon_event::Timestamp;
use sqlx::{Connection, Row};

use crate::place::{Place, environment, in_schema, options};
use crate::things::{TENANT, register};

#[track_caller]
fn expect(opened: Result<PostgresBooks, reckon_books::Error>, kind: ErrorKind, parts: &[&str]) {
    let error = opened.expect_err("will not do");
    assert_eq!(error.kind, kind, "{error}");
    for part in parts {
        assert!(error.to_string().contains(part), "`{part}` is not said: {error}");
    }
}

const INVALID: ErrorKind = ErrorKind::Invalid { field: "books.url" };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_not_there_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let url = format!("postgres://someone:secret@127.0.0.1:{port}/reckon");
    let short = PostgresOptions { acquire_timeout: Duration::from_millis(300), ..options() };
    // It takes connections, and says nothing.
    let address = format!("postgres://127.0.0.1:{port}/reckon");
    let silent = PostgresBooks::open(&url, short).await;
    expect(silent, ErrorKind::Unavailable, &[&address, "gave no answer within 300 ms"]);
    drop(listener);
    let absent = PostgresBooks::open(&url, short).await;
    let fix = "see that the server runs and that books.url names it";
    expect(absent, ErrorKind::Unavailable, &[&address, "refused", fix]);
    let absent = PostgresBooks::verify(&url, short).await.expect_err("not there");
    assert_eq!(absent.kind, ErrorKind::Unavailable, "{absent}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_server_refuses_is_told_with_the_fix() {
    let place = Place::new().await;
    let open = async |url: String| PostgresBooks::open(&url, options()).await;
    let url = place.url();
    let password = url.split([':', '@']).nth(2).expect("a password").to_owned();
    let wrong = open(url.replace(&password, "wrong")).await;
    expect(wrong, ErrorKind::Unavailable, &["see that user and password of books.url are right"]);
    let nowhere = open(url.replace("/reckon?", "/nothing?")).await;
    expect(nowhere, ErrorKind::Unavailable, &["create the database that books.url names"]);
    let homeless = open(url.replace(&place.schema, "nothing")).await;
    expect(homeless, INVALID, &["search path names no schema that is there: create it"]);
    let hasty = open(format!("{url}&options[synchronous_commit]=off")).await;
    expect(hasty, INVALID, &["set synchronous_commit to on"]);
    let unsound = open("postgres://user@host:port/database".to_owned()).await;
    expect(unsound, INVALID, &["books.url must be like postgres://"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn texts_that_are_not_unicode_are_refused() {
    let admin = environment("RECKON_TEST_POSTGRES_ADMIN");
    let mut connection = sqlx::PgConnection::connect(&admin).await.expect("connects");
    let name = format!("latin_{}", std::process::id());
    let create = format!(
        "CREATE DATABASE {name} ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C' \
         LOCALE_PROVIDER libc"
    );
    crate::place::run(&mut connection, &create).await;
    let opened =
        PostgresBooks::open(&admin.replace("/reckon", &format!("/{name}")), options()).await;
    expect(opened, INVALID, &["create the database with ENCODING 'UTF8'"]);
    crate::place::run(&mut connection, &format!("DROP DATABASE {name} WITH (FORCE)")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn books_of_a_newer_build_are_refused() {
    let place = Place::new().await;
    place.postgres().await.close().await;
    place.tamper("INSERT INTO _sqlx_migrations VALUES (9, 'later', now(), true, '\\x00', 0)").await;
    let parts = ["schema version 9, which this build does not know", "use a newer build"];
    let opened = PostgresBooks::open(&place.url(), options()).await;
    expect(opened, ErrorKind::Damaged, &parts);
    let refused =
        PostgresBooks::verify(&place.url(), options()).await.expect_err("from the future");
    assert!(parts.iter().all(|part| refused.to_string().contains(part)), "{refused}");
    // Whoever was refused holds no lock of who migrates.
    place.tamper("DELETE FROM _sqlx_migrations WHERE version = 9").await;
    place.postgres().await.close().await;
    place.tamper("UPDATE _sqlx_migrations SET checksum = '\\x00' WHERE version = 2").await;
    let opened = PostgresBooks::open(&place.url(), options()).await;
    expect(opened, ErrorKind::Damaged, &["cannot be migrated", "2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_schema_is_no_books_to_check() {
    let place = Place::new().await;
    let refused = PostgresBooks::verify(&place.url(), options()).await.expect_err("no books");
    assert_eq!(refused.kind, ErrorKind::Damaged, "{refused}");
    let tables =
        "SELECT COUNT(*) FROM pg_class WHERE relnamespace = current_schema()::regnamespace";
    assert_eq!(place.ask(tables).await[0].get::<i64, _>(0), 0, "a check makes nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closed_books_are_not_available() {
    let books = Place::new().await.postgres().await;
    books.close().await;
    let refused = books.lease("minter", Timestamp(0)).await.expect_err("closed");
    assert_eq!(refused.kind, ErrorKind::Unavailable, "{refused}");
    assert!(refused.to_string().contains("the books are closed"), "{refused}");
}

/// Where the way to the server is not trusted, its certificate must be good, or nothing is sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_checked_where_it_is_asked_for() {
    let place = Place::new().await;
    let (url, root) = (place.url(), environment("RECKON_TEST_POSTGRES_CA"));
    let trusted = format!("{url}&sslmode=verify-full&sslrootcert={root}");
    let books = PostgresBooks::open(&trusted, options()).await.expect("opens");
    register(&books).await;
    assert!(books.ad(TENANT, "shoe").await.is_ok());
    let encrypted = format!(
        "SELECT COUNT(*), COUNT(*) FILTER (WHERE s.ssl) FROM pg_stat_ssl s \
         JOIN pg_stat_activity a USING (pid) WHERE application_name = '{}' \
         AND pid <> pg_backend_pid()",
        place.schema
    );
    let rows = place.ask(&encrypted).await;
    let counts: (i64, i64) = (rows[0].get(0), rows[0].get(1));
    assert!(counts.0 > 0 && counts.0 == counts.1, "{counts:?} connections are encrypted");

    let unknown = PostgresBooks::open(&format!("{url}&sslmode=verify-full"), options()).await;
    let fix = "see that sslmode and sslrootcert of books.url fit the server";
    expect(unknown, ErrorKind::Unavailable, &[fix]);
    let elsewhere = environment("RECKON_TEST_POSTGRES").replace("127.0.0.1", "localhost");
    let elsewhere = in_schema(&elsewhere, &place.schema);
    let other = format!("{elsewhere}&sslmode=verify-full&sslrootcert={root}");
    expect(PostgresBooks::open(&other, options()).await, ErrorKind::Unavailable, &[fix]);
    let plain = format!("{url}&sslmode=disable");
    assert!(PostgresBooks::open(&plain, options()).await.is_ok(), "this server takes both");
}
