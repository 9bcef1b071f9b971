//! Lakes on real servers: every promise of the suite, and what only a server can get wrong.
//!
//! `make engines-test` starts the servers and says where they are; without that these tests fail.

#![expect(clippy::print_stdout, reason = "the tests tell how much they compared")]

mod faults;
mod killed;
mod proxy;
mod refused;
mod server;

use reckon_lake::conformance::{Bench, PROMISES};
use reckon_lake::{LakePlace, S3Options};

use crate::server::Server;

struct InBuckets(Server);

impl Bench for InBuckets {
    fn place(&self) -> LakePlace {
        place(&self.0.options())
    }

    fn stride(&self) -> usize {
        3
    }
}

fn place(options: &S3Options) -> LakePlace {
    LakePlace::s3(options).expect("a place")
}

#[test]
fn every_promise_is_kept_in_a_bucket() {
    let bench = InBuckets(Server::shared());
    for (name, promise) in PROMISES {
        println!("{name}");
        promise(&bench);
    }
    println!("s3: {} promises checked", PROMISES.len());
}
