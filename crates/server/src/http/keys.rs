//! `/v1/keys`: making, listing and revoking API keys.
//!
//! A secret is drawn here, shown once in the answer to its making, and never again: the books hold
//! its hash.

use std::sync::Arc;

use anyhow::bail;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get};
use axum::{Extension, Json, Router};
use reckon_books::{ApiKey, Books, ErrorKind, KeyKind, Scopes, SecretHash};
use reckon_event::{TenantId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::parameters::{Id, Paging, Parameters};
use super::replay::{MadeId, Unkept};
use super::{Problem, body, parse_json};
use crate::app::App;

/// The routes.
pub fn routes() -> Router<Arc<App>> {
    Router::new().route("/v1/keys", get(list).post(create)).route("/v1/keys/{id}", delete(revoke))
}

/// A key as it is posted.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Draft {
    name: String,
    kind: String,
    #[serde(default)]
    scopes: Vec<String>,
    #[serde(default)]
    requests_per_second: Option<u32>,
}

/// A key as it is answered.
#[derive(Debug, Serialize)]
struct View {
    key_id: String,
    name: String,
    kind: &'static str,
    scopes: Vec<&'static str>,
    requests_per_second: Option<u32>,
    created_at: String,
    revoked_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

impl View {
    fn of(key: ApiKey, secret: Option<String>) -> Self {
        View {
            key_id: key.key_id,
            name: key.name,
            kind: key.kind.as_str(),
            scopes: key.scopes.names().collect(),
            requests_per_second: key.requests_per_second,
            created_at: key.created_at.to_string(),
            revoked_at: key.revoked_at.map(|time| time.to_string()),
            secret,
        }
    }
}

async fn create(State(app): State<Arc<App>>, request: Request) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let holder = app.gate.require(&head.headers, Scopes::MANAGE).await?;
    let bytes = body::read(&head.headers, body, &app.body_limits).await?;
    let made = MadeId::new("key_", holder.tenant(), &head.headers);
    let key = check(parse_json(&bytes)?, made.id(0), holder.tenant(), app.edge.clock.now())?;
    let secret = draw_secret(key.kind);
    let created = app.books.create_key(key, SecretHash::of(&secret)).await.map_err(made_before)?;
    let view = View::of(created.into_inner(), Some(secret));
    Ok((StatusCode::CREATED, Extension(Unkept), Json(view)).into_response())
}

/// The id is made, so one that is taken was made from the same idempotency key.
fn made_before(error: reckon_books::Error) -> Problem {
    match error.kind {
        ErrorKind::Conflict => Problem::conflict(
            "Idempotency-Key: this key was made before, and its secret is shown once only; \
             revoke it if the secret was lost, and make another",
        ),
        _ => error.into(),
    }
}

fn check(
    draft: Draft,
    key_id: String,
    tenant: TenantId,
    now: Timestamp,
) -> Result<ApiKey, Problem> {
    let mut scopes = Scopes::NONE;
    for name in &draft.scopes {
        scopes = scopes.with(Scopes::parse(name)?);
    }
    Ok(ApiKey {
        key_id,
        tenant,
        name: draft.name,
        kind: KeyKind::parse(&draft.kind)?,
        scopes,
        requests_per_second: draft.requests_per_second,
        created_at: now,
        revoked_at: None,
    })
}

/// 256 random bits behind a prefix that tells secret scanners what they have found.
fn draw_secret(kind: KeyKind) -> String {
    let prefix = match kind {
        KeyKind::Secret => "rk_",
        KeyKind::Write => "wk_",
    };
    let bits: [u8; 32] = rand::random();
    format!("{prefix}{}", base64_simd::URL_SAFE_NO_PAD.encode_to_string(bits))
}

async fn list(
    State(app): State<Arc<App>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Json<Value>, Problem> {
    let tenant = app.gate.require(&headers, Scopes::MANAGE).await?.tenant();
    let paging = Paging::read(&Parameters::read(uri.query(), &["after", "limit"])?)?;
    let keys = app.books.list_keys(tenant, paging.page()).await?;
    let next = match keys.last() {
        Some(last) if keys.len() == paging.limit as usize => {
            let more = app.books.list_keys(tenant, Paging::probe(&last.key_id)).await?;
            (!more.is_empty()).then(|| last.key_id.clone())
        }
        _ => None,
    };
    let views: Vec<View> = keys.into_iter().map(|key| View::of(key, None)).collect();
    Ok(Json(json!({"keys": views, "next": next})))
}

async fn revoke(
    State(app): State<Arc<App>>,
    Id(key_id): Id,
    headers: HeaderMap,
) -> Result<Json<View>, Problem> {
    let tenant = app.gate.require(&headers, Scopes::MANAGE).await?.tenant();
    let key = app.books.revoke_key(tenant, &key_id, app.edge.clock.now()).await?;
    app.gate.forget();
    Ok(Json(View::of(key, None)))
}

/// Makes the key of a fresh installation: all scopes, no rate limit. Returns its secret.
pub async fn create_admin_key(books: &dyn Books, now: Timestamp) -> anyhow::Result<String> {
    let secret = draw_secret(KeyKind::Secret);
    let key = ApiKey {
        key_id: MadeId::new("key_", TenantId::DEFAULT, &HeaderMap::new()).id(0),
        tenant: TenantId::DEFAULT,
        name: "admin".to_owned(),
        kind: KeyKind::Secret,
        scopes: Scopes::ALL,
        requests_per_second: None,
        created_at: now,
        revoked_at: None,
    };
    if !books.create_key(key, SecretHash::of(&secret)).await?.is_new() {
        bail!("the admin key's random id or secret was drawn before");
    }
    Ok(secret)
}
