//! Clients that meet: whatever they do at once, some order of them must have done it.
//!
//! A table that is locked against writing, but not against reading, brings transactions to meet for
//! certain: each has looked, none has written.

use std::sync::Arc;

use reckon_books::{
    Account, Ad, Ads, Advertisers, CampaignPatch, Campaigns, Created, ErrorKind, Leases, Ledger,
    Periods, Posted, PostgresBooks, Slice, all_entries,
};
use reckon_event::{Micros, Timestamp};
use tokio::task::JoinSet;

use crate::place::{Place, run};
use crate::things::{HOUR, TENANT, ad, advertiser, charge, day, figure, only, register};

/// Several clients of one place, as several servers would be.
async fn clients(place: &Place, count: usize) -> Vec<Arc<PostgresBooks>> {
    let mut clients = Vec::new();
    for _ in 0..count {
        clients.push(Arc::new(place.postgres().await));
    }
    clients
}

fn races_lost(clients: &[Arc<PostgresBooks>]) -> u64 {
    clients.iter().map(|client| client.races_lost()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_who_make_one_name_at_once_are_told_apart() {
    let place = Place::new().await;
    let clients = clients(&place, 2).await;
    register(&*clients[0]).await;
    let mut beside = place.beside().await;
    run(&mut beside, "BEGIN; LOCK TABLE ads IN SHARE MODE").await;
    let mut racers = JoinSet::new();
    for (client, category) in clients.iter().zip(["left", "right"]) {
        let (client, category) = (Arc::clone(client), Some(category.to_owned()));
        let mine = Ad { category, ..ad("boot", "spring") };
        racers.spawn(async move { only(client.create_ads(TENANT, vec![mine]).await) });
    }
    // Both have seen that the name is free.
    place.until_waiting(2).await;
    run(&mut beside, "COMMIT").await;
    let told = racers.join_all().await;
    let (made, refused): (Vec<_>, Vec<_>) = told.into_iter().partition(Result::is_ok);
    assert_eq!((made.len(), refused.len()), (1, 1));
    let refusal = refused.into_iter().next().and_then(Result::err).expect("one is refused");
    assert_eq!(refusal.kind, ErrorKind::Conflict, "{refusal}");
    let won = made.into_iter().next().and_then(Result::ok).expect("one is made").into_inner();
    assert_eq!(clients[0].ad(TENANT, "boot").await.expect("there"), won);
    assert_eq!(races_lost(&clients), 1, "the other was run again, and saw the first");
}

/// All names of one length have one key.
fn key_by_length(name: &str) -> u64 {
    name.len() as u64 | 1 << 63
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_names_of_one_key_made_at_once_are_refused_by_both_names() {
    let place = Place::new().await;
    let mut clients = Vec::new();
    for _ in 0..2 {
        let options = crate::place::options();
        let opened = PostgresBooks::open_with_keys(&place.url(), options, key_by_length).await;
        clients.push(Arc::new(opened.expect("opens")));
    }
    let mut beside = place.beside().await;
    run(&mut beside, "BEGIN; LOCK TABLE advertisers IN SHARE MODE").await;
    let mut racers = JoinSet::new();
    for (client, name) in clients.iter().zip(["acme", "bolt"]) {
        let client = Arc::clone(client);
        racers.spawn(async move {
            only(client.create_advertisers(TENANT, vec![advertiser(name)]).await)
        });
    }
    place.until_waiting(2).await;
    run(&mut beside, "COMMIT").await;
    let told = racers.join_all().await;
    let refusal = told.iter().find_map(|told| told.as_ref().err()).expect("one is refused");
    assert_eq!(refusal.kind, ErrorKind::Collision, "{refusal}");
    let said = refusal.to_string();
    assert!(said.contains("`acme`") && said.contains("`bolt`"), "{said}");
    assert_eq!(told.iter().filter(|told| told.is_ok()).count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_who_post_one_key_at_once_leave_it_once() {
    let place = Place::new().await;
    let clients = clients(&place, 3).await;
    register(&*clients[0]).await;
    clients[0].freeze(day(), 9, Vec::new(), HOUR).await.expect("freezes");
    let mut beside = place.beside().await;
    run(&mut beside, "BEGIN; LOCK TABLE ledger_entries IN SHARE MODE").await;
    let mut racers = JoinSet::new();
    for (client, amount) in clients.iter().zip([5, 5, 6]) {
        let client = Arc::clone(client);
        racers.spawn(async move {
            (amount, client.post(vec![charge("k", 0, amount), charge("own", 0, 1)]).await)
        });
    }
    place.until_waiting(3).await;
    run(&mut beside, "COMMIT").await;
    let mut told = racers.join_all().await;
    told.sort_by_key(|(amount, _)| *amount);
    let entries = all_entries(&*clients[0], &Slice::of_day(day())).await.expect("reads");
    assert_eq!(entries.len(), 2, "each key once");
    for (amount, told) in told {
        match told {
            Ok(Posted { new, same }) => {
                assert_eq!((entries[0].amount, new + same), (amount, 2));
            }
            Err(error) => {
                assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
                assert_ne!(entries[0].amount, amount);
            }
        }
    }
    assert!(races_lost(&clients) >= 2, "{} of 3 were run again", races_lost(&clients));
}

/// Who was told that a day is closed, and saw its entries, is never shown one more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_charge_under_way_does_not_come_to_a_day_that_is_closed_meanwhile() {
    let place = Place::new().await;
    let clients = clients(&place, 2).await;
    register(&*clients[0]).await;
    clients[0].freeze(day(), 9, vec![figure("a", 0, 5)], HOUR).await.expect("freezes");
    let mut beside = place.beside().await;
    run(&mut beside, "BEGIN; LOCK TABLE ledger_entries IN SHARE MODE").await;
    let slow = Arc::clone(&clients[0]);
    let posting = tokio::spawn(async move { slow.post(vec![charge("a", 0, 5)]).await });
    // It has seen that the day is open for charges.
    place.until_waiting(1).await;
    clients[1].finish(day(), HOUR).await.expect("closes");
    let seen = all_entries(&*clients[1], &Slice::of_day(day())).await.expect("reads");
    assert!(seen.is_empty());
    run(&mut beside, "COMMIT").await;
    let late = posting.await.expect("no panic").expect_err("the day is closed");
    assert_eq!(late.kind, ErrorKind::Invalid { field: "hour" }, "{late}");
    assert_eq!(all_entries(&*clients[1], &Slice::of_day(day())).await.expect("reads"), seen);
}

/// Eight clients add to one history, which only one at a time can: nobody is told to come again,
/// however often it loses.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_loses_again_and_again_gets_a_turn_alone() {
    const CLIENTS: i64 = 8;
    const CHANGES: i64 = 25;
    let place = Place::new().await;
    let clients = clients(&place, CLIENTS as usize).await;
    register(&*clients[0]).await;
    let mut racers = JoinSet::new();
    for (client, number) in clients.iter().cloned().zip(0..) {
        racers.spawn(async move {
            for change in 0..CHANGES {
                let cpc_micros = Some(1_000 + change * CLIENTS + number);
                let patch = CampaignPatch { cpc_micros, ..CampaignPatch::default() };
                let at = HOUR.plus(change);
                client.patch_campaign(TENANT, "spring", patch, at).await.expect("comes through");
            }
        });
    }
    racers.join_all().await;
    let history = clients[0].terms(TENANT, "spring").await.expect("there");
    assert!(history.is_sorted_by_key(|terms| terms.from));
    let mut prices: Vec<Micros> = history.iter().skip(1).map(|terms| terms.cpc_micros).collect();
    let stands = clients[1].campaign(TENANT, "spring").await.expect("there").cpc_micros;
    assert_eq!(prices.last(), Some(&stands));
    prices.sort_unstable();
    assert_eq!(prices, (1_000..1_000 + CLIENTS * CHANGES).collect::<Vec<_>>());
    let lost = races_lost(&clients);
    assert!(lost > 0, "nobody met anybody");
    println!(
        "{} changes of one price by {CLIENTS} clients, {lost} of them run again",
        prices.len()
    );
    assert!(place.findings().await.is_empty());
}

/// Somebody alone may still be taken back, for the end of the transaction before. That moment cannot be
/// met at will, so a trigger stands in for it, which counts where nothing is taken back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_taken_back_alone_begins_again() {
    let place = Place::new().await;
    let client = place.postgres().await;
    register(&client).await;
    let mut beside = place.beside().await;
    let trigger = |until: u32| {
        format!(
            "CREATE OR REPLACE FUNCTION take_back() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             IF nextval('tries') <= {until} THEN \
             RAISE EXCEPTION 'taken back' USING ERRCODE = 'serialization_failure'; \
             END IF; RETURN NEW; END $$"
        )
    };
    run(&mut beside, "CREATE SEQUENCE tries").await;
    run(&mut beside, &trigger(8)).await;
    let on_terms = "CREATE TRIGGER take_back BEFORE INSERT ON campaign_terms \
                    FOR EACH ROW EXECUTE FUNCTION take_back()";
    run(&mut beside, on_terms).await;
    let patch =
        |cpc_micros| CampaignPatch { cpc_micros: Some(cpc_micros), ..CampaignPatch::default() };
    // Four times beside others, four times alone, and then through.
    client.patch_campaign(TENANT, "spring", patch(7), HOUR).await.expect("comes through");
    assert_eq!(client.races_lost(), 8);
    assert_eq!(client.campaign(TENANT, "spring").await.expect("there").cpc_micros, 7);
    // Who never comes through is told, and leaves nothing.
    run(&mut beside, &trigger(1_000)).await;
    let told = client.patch_campaign(TENANT, "spring", patch(9), HOUR.plus(1)).await;
    let told = told.expect_err("is taken back for ever");
    assert_eq!(told.kind, ErrorKind::Unavailable, "{told}");
    assert_eq!(client.races_lost(), 8 + 11, "the twelfth time is the answer");
    assert_eq!(client.campaign(TENANT, "spring").await.expect("there").cpc_micros, 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_post_at_once_leave_a_balanced_ledger() {
    const CLIENTS: usize = 6;
    const POSTS: usize = 30;
    let place = Place::new().await;
    let clients = clients(&place, CLIENTS).await;
    register(&*clients[0]).await;
    clients[0].freeze(day(), 9, Vec::new(), HOUR).await.expect("freezes");
    let mut racers = JoinSet::new();
    for (client, number) in clients.iter().cloned().zip(0..) {
        racers.spawn(async move {
            let mut posted = Posted::default();
            for post in 0..POSTS {
                // Of each batch half is everybody's, half is this client's own.
                let shared = (0..5).map(|n| charge(&format!("s/{post}/{n}"), 1, 3));
                let own = (0..5).map(|n| charge(&format!("o/{number}/{post}/{n}"), 2, 7));
                let done = client.post(shared.chain(own).collect()).await.expect("comes through");
                posted = Posted { new: posted.new + done.new, same: posted.same + done.same };
            }
            posted
        });
    }
    let posted = racers.join_all().await;
    let new: u64 = posted.iter().map(|posted| posted.new).sum();
    let same: u64 = posted.iter().map(|posted| posted.same).sum();
    let (shared, own) = (5 * POSTS, 5 * POSTS * CLIENTS);
    assert_eq!((new, same), ((shared + own) as u64, (shared * (CLIENTS - 1)) as u64));
    let balances = clients[1].balances(&Slice::of_day(day())).await.expect("sums");
    let expected = Micros::try_from(3 * shared + 7 * own).expect("small");
    let sums: Vec<_> =
        balances.iter().map(|sums| (sums.account, sums.debits, sums.credits)).collect();
    assert_eq!(sums, [(Account::Receivable, expected, 0), (Account::Revenue, 0, expected)]);
    println!("{new} entries by {CLIENTS} clients, {} batches run again", races_lost(&clients));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_who_freeze_a_day_one_does() {
    let place = Place::new().await;
    let clients = clients(&place, 5).await;
    register(&*clients[0]).await;
    let mut beside = place.beside().await;
    run(&mut beside, "BEGIN; LOCK TABLE periods IN SHARE MODE").await;
    let mut racers = JoinSet::new();
    for (client, number) in clients.iter().cloned().zip(0..) {
        // Three figures among five clients: some freeze the same.
        let figures = vec![figure("a", 0, number % 3)];
        racers.spawn(async move { (number % 3, client.freeze(day(), 9, figures, HOUR).await) });
    }
    place.until_waiting(5).await;
    run(&mut beside, "COMMIT").await;
    let told = racers.join_all().await;
    let frozen = clients[0].figures(&Slice::of_day(day()), None).await.expect("reads");
    assert_eq!(frozen.len(), 1);
    let is_new = |told: &Result<Created<_>, _>| told.as_ref().is_ok_and(Created::is_new);
    assert_eq!(told.iter().filter(|(_, told)| is_new(told)).count(), 1);
    for (spend, told) in told {
        match told {
            Ok(_) => assert_eq!(spend, frozen[0].spend),
            Err(error) => {
                assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
                assert_ne!(spend, frozen[0].spend);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_of_many_clients_rise_and_are_each_given_once() {
    const CLIENTS: usize = 8;
    const EACH: u32 = 40;
    let place = Place::new().await;
    let clients = clients(&place, CLIENTS).await;
    let mut racers = JoinSet::new();
    for client in clients.iter().cloned() {
        racers.spawn(async move {
            let mut numbers = Vec::new();
            for _ in 0..EACH {
                numbers.push(client.lease("minter", Timestamp(0)).await.expect("works"));
            }
            assert!(numbers.is_sorted(), "each client sees them rise");
            numbers
        });
    }
    let mut numbers: Vec<u32> = racers.join_all().await.into_iter().flatten().collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=EACH * CLIENTS as u32).collect::<Vec<_>>());
    assert_eq!(races_lost(&clients), 0, "who comes second waits, and is not taken back");
}
