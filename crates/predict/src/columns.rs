//! The columns of a request: what the plan of features says of its candidates, at one cut of the pasts.

use std::sync::Arc;

use parking_lot::Mutex;
use reckon_event::{Columns, name_key};
use reckon_feature::{Ad, Parts, Pasts, Plan, Rows, Seen, Views};

use crate::row::{Candidate, Request, Value};

/// Looks at pasts and computes rows; what it needs for that is used again.
pub(crate) struct Computer {
    pasts: Arc<Pasts>,
    /// As many as requests were ever computed at a time.
    views: Mutex<Vec<Views>>,
}

/// The columns of all candidates of one request.
#[derive(Clone, Debug)]
pub(crate) struct Computed {
    plan: Arc<Plan>,
    seen: Arc<Seen>,
    rows: Rows,
}

impl Computer {
    pub fn new(pasts: Arc<Pasts>) -> Self {
        Computer { pasts, views: Mutex::default() }
    }

    pub const fn pasts(&self) -> &Arc<Pasts> {
        &self.pasts
    }

    pub fn columns(&self, request: &Request<'_>, candidates: &[Candidate]) -> Computed {
        let plan = Arc::clone(self.pasts.plan());
        let asked = asked(request);
        let offered: Vec<_> = candidates.iter().map(offered).collect();
        let mut views = self.views.lock().pop().unwrap_or_default();
        let seen = self.pasts.look(&asked, &offered, &mut views);
        let mut rows = Rows::default();
        plan.rows(&asked, &offered, &mut views, &mut rows);
        self.views.lock().push(views);
        Computed { plan, seen, rows }
    }
}

/// A request as pasts name it: by the words that events of it will be logged with.
fn asked<'a>(request: &Request<'a>) -> reckon_feature::Request<'a> {
    let key = |text: &str| if text.is_empty() { 0 } else { name_key(text) };
    let text = |names: &[&str]| {
        let mut told = request.context.iter().filter(|(name, _)| names.contains(name));
        told.find_map(|(_, value)| match value {
            Value::Text(text) => Some(key(text)),
            Value::Number(_) | Value::Flag(_) => None,
        })
    };
    let depth = request.context.iter().find_map(|(name, value)| match value {
        Value::Number(depth) if *name == "session_depth" && *depth >= 0.0 => Some(*depth as u32),
        _ => None,
    });
    reckon_feature::Request {
        parts: Parts {
            tenant: request.tenant,
            user: request.user,
            page: text(&["item_id"]).unwrap_or(0),
            geo: key(request.region),
            device: key(request.device),
            placement: key(request.placement),
            ..Parts::default()
        },
        now: request.now,
        session_depth: depth,
        locale: text(&["locale", "language"]).unwrap_or(request.locale),
        interests: request.interests,
    }
}

/// A candidate as pasts name it. Every row is for place 1: a model is asked before anything is placed.
fn offered(candidate: &Candidate) -> reckon_feature::Candidate {
    let Candidate { ad, campaign, category, pixels, price, locale, quality, created, .. } =
        *candidate;
    let ad = Ad { ad, campaign, category, size: pixels, locale, quality, created };
    reckon_feature::Candidate { ad, price, position: 1 }
}

impl Computed {
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    pub const fn rows(&self) -> &Rows {
        &self.rows
    }

    pub fn plan_version(&self) -> u64 {
        self.plan.version()
    }

    pub fn cut(&self) -> Vec<u64> {
        self.seen.cut.to_vec()
    }

    /// What all candidates share.
    pub fn shared(&self) -> Columns {
        let (columns, fields) = (self.plan.user_columns(), self.plan.user_fields());
        Columns {
            numeric: self.rows.numeric[..columns].to_vec(),
            keys: self.rows.keys[..fields].to_vec(),
        }
    }

    /// What is one candidate's alone.
    pub fn own(&self, candidate: usize) -> Columns {
        let (columns, fields) = (self.plan.columns().len(), self.plan.fields().len());
        let numeric = &self.rows.numeric[candidate * columns..][..columns];
        let keys = &self.rows.keys[candidate * fields..][..fields];
        Columns {
            numeric: numeric[self.plan.user_columns()..].to_vec(),
            keys: keys[self.plan.user_fields()..].to_vec(),
        }
    }
}
