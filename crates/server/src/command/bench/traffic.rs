//! Traffic in which one ad, one person or one address has far more than its share.
//!
//! Every event tells an address and an agent, as a source with a key may, so that what differs between
//! two kinds of traffic is only what is hot in them.

use std::net::Ipv4Addr;

use reckon_event::name_key;

use super::mint::{Minting, Render, Shelf, Shown, USER_AGENT, render_with};

/// What is hot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Traffic {
    /// Nothing: many ads, people with a hundred clicks each, an address for each click.
    Uniform,
    /// One ad has all clicks.
    HotAd,
    /// One person has half of the clicks.
    HotUser,
    /// One address has half of the clicks.
    HotIp,
}

impl Traffic {
    /// What is minted for it.
    pub fn minting(self, minting: Minting) -> Minting {
        let shelf = if self == Traffic::HotAd { Shelf::HOT } else { minting.shelf };
        Minting { shelf, has_hot_user: self == Traffic::HotUser, ..minting }
    }

    /// How a click of it is written.
    pub fn render(self) -> Render {
        match self {
            Traffic::HotIp => |shown, out| {
                let key = name_key(shown.impression);
                let is_hot = key.is_multiple_of(2);
                render_from(shown, if is_hot { HOT_ADDRESS } else { address(key) }, out);
            },
            _ => |shown, out| render_from(shown, address(name_key(shown.impression)), out),
        }
    }
}

const HOT_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

/// One of 16 million addresses.
const fn address(key: u64) -> Ipv4Addr {
    let [a, b, c, ..] = key.to_be_bytes();
    Ipv4Addr::new(10, a, b, c)
}

fn render_from(shown: &Shown<'_>, address: Ipv4Addr, out: &mut Vec<u8>) {
    render_with(shown, &format!(",\"ip\":\"{address}\",\"user_agent\":\"{USER_AGENT}\""), out);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(traffic: Traffic) -> Vec<String> {
        let render = traffic.render();
        let address = |number: usize| {
            let impression = number.to_string();
            let shown = Shown { ad_id: "bench-07", impression: &impression, click_url: "" };
            let mut line = Vec::new();
            render(&shown, &mut line);
            let event: serde_json::Value = serde_json::from_slice(&line).expect("JSON");
            assert_eq!(event["user_agent"].as_str(), Some(USER_AGENT));
            event["ip"].as_str().expect("an address").to_owned()
        };
        (0..1_000).map(address).collect()
    }

    #[test]
    fn half_of_the_clicks_come_from_the_hot_address() {
        let hot = |traffic| {
            let hot = HOT_ADDRESS.to_string();
            addresses(traffic).iter().filter(|address| **address == hot).count()
        };
        assert!((400..600).contains(&hot(Traffic::HotIp)));
        assert_eq!([Traffic::Uniform, Traffic::HotAd, Traffic::HotUser].map(hot), [0; 3]);
    }
}
