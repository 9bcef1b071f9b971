//! Connections to the server, shared by all who visit.

use anyhow::Result;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::time::{Exchange, ServerTime};
use crate::clock::Clock;
use crate::command::client::{Answer, Call, Client};

/// A bounded number of connections; who finds none free waits.
pub struct Wire {
    places: Semaphore,
    idle: Mutex<Vec<Client>>,
    template: Client,
}

impl Wire {
    /// So many connections like this one.
    pub fn new(template: Client, connections: usize) -> Self {
        Wire { places: Semaphore::new(connections), idle: Mutex::default(), template }
    }

    /// Sends over a connection that is free. An error means that no answer came: the request may have
    /// been taken.
    pub async fn send(&self, call: &Call, time: &ServerTime) -> (Result<Answer>, Exchange) {
        self.send_by(call, &|| time.own()).await
    }

    /// The same, before anything is known of the server's clock.
    pub async fn send_first(&self, call: &Call, own: &Clock) -> (Result<Answer>, Exchange) {
        self.send_by(call, &|| own.now()).await
    }

    async fn send_by(
        &self,
        call: &Call,
        own: &(dyn Fn() -> reckon_event::Timestamp + Sync),
    ) -> (Result<Answer>, Exchange) {
        let _place = self.places.acquire().await.expect("the semaphore is never closed");
        let idle = self.idle.lock().pop();
        let mut client = idle.unwrap_or_else(|| self.template.another());
        let sent = own();
        let answer = client.send(call).await;
        let exchange = Exchange { sent, answered: own() };
        self.idle.lock().push(client);
        (answer, exchange)
    }
}
