//! The published description tells the truth: it names every route and no other, its examples are what
//! they claim to be, and what the endpoints answer is what it says they answer.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::body::Body;
use reckon_server::http;
use reckon_server::http::openapi::DESCRIPTION;
use serde_json::{Map, Value, json};

use crate::harness::{Answer, House};

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// The description, and the part of JSON Schema that it uses.
struct Described(Value);

impl Described {
    fn read() -> Self {
        Described(serde_json::from_str(DESCRIPTION).expect("it is JSON"))
    }

    fn paths(&self) -> &Map<String, Value> {
        self.0["paths"].as_object().expect("paths")
    }

    /// Every operation: path, method, and what is said of it.
    fn operations(&self) -> Vec<(&str, &str, &Value)> {
        let mut operations = Vec::new();
        for (path, methods) in self.paths() {
            for (method, operation) in methods.as_object().expect("methods") {
                operations.push((path.as_str(), method.as_str(), operation));
            }
        }
        operations
    }

    /// Follows `$ref`.
    fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value.get("$ref").and_then(Value::as_str) {
            None => value,
            Some(place) => {
                let place = place.strip_prefix('#').expect("a place in this document");
                self.resolve(self.0.pointer(place).unwrap_or_else(|| panic!("nothing at {place}")))
            }
        }
    }

    /// What keeps a value from being of a schema.
    fn check(&self, schema: &Value, value: &Value, place: &str) -> Result<(), String> {
        let schema = self.resolve(schema);
        let wrong = |what: String| Err(format!("{place}: {what}: {value}"));
        if let Some(choices) = schema.get("oneOf").and_then(Value::as_array) {
            let fitting =
                choices.iter().filter(|choice| self.check(choice, value, place).is_ok()).count();
            return if fitting == 1 {
                Ok(())
            } else {
                wrong(format!("fits {fitting} of the choices, not one"))
            };
        }
        if let Some(types) = schema.get("type") {
            let types: Vec<&str> = match types {
                Value::Array(types) => types.iter().map(|name| name.as_str().unwrap()).collect(),
                one => vec![one.as_str().unwrap()],
            };
            if !types.iter().any(|name| is_a(name, value)) {
                return wrong(format!("is none of {types:?}"));
            }
        }
        if let Some(values) = schema.get("enum").and_then(Value::as_array)
            && !values.contains(value)
        {
            return wrong("is none of the values".to_owned());
        }
        if let Some(text) = value.as_str() {
            check_text(schema, text).or_else(wrong)?;
        }
        if let Some(number) = value.as_f64() {
            let least = schema.get("minimum").and_then(Value::as_f64).unwrap_or(f64::MIN);
            let most = schema.get("maximum").and_then(Value::as_f64).unwrap_or(f64::MAX);
            if number < least || number > most {
                return wrong(format!("is not {least} to {most}"));
            }
        }
        match value {
            Value::Array(items) => {
                let schema = schema.get("items").unwrap_or(&Value::Null);
                items
                    .iter()
                    .enumerate()
                    .try_for_each(|(at, item)| self.check(schema, item, &format!("{place}[{at}]")))
            }
            Value::Object(fields) => self.check_fields(schema, fields, place),
            _ => Ok(()),
        }
    }

    fn check_fields(
        &self,
        schema: &Value,
        fields: &Map<String, Value>,
        place: &str,
    ) -> Result<(), String> {
        for name in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
            if !fields.contains_key(name.as_str().unwrap()) {
                return Err(format!("{place}: {name} is missing"));
            }
        }
        for (name, value) in fields {
            let known = schema.get("properties").and_then(|known| known.get(name));
            match (known, schema.get("additionalProperties")) {
                (Some(schema), _) => self.check(schema, value, &format!("{place}.{name}"))?,
                (None, Some(Value::Bool(false))) => {
                    return Err(format!("{place}: {name} is not described"));
                }
                (None, Some(schema)) => self.check(schema, value, &format!("{place}.{name}"))?,
                (None, None) => {}
            }
        }
        Ok(())
    }

    /// Holds an answer against what is said of the operation.
    #[track_caller]
    fn judge(&self, path: &str, method: &str, answer: &Answer) {
        let operation = &self.paths()[path][method];
        let status = answer.status.to_string();
        let said = operation["responses"].get(&status);
        let said =
            self.resolve(said.unwrap_or_else(|| {
                panic!("{method} {path} does not describe {status}: {answer:?}")
            }));
        let kind = answer.header("content-type").split(';').next().unwrap_or_default();
        if let Some(content) = said.get("content") {
            let content = content
                .get(kind)
                .unwrap_or_else(|| panic!("{method} {path} {status}: {kind:?} is not described"));
            if kind.ends_with("json") {
                self.check(&content["schema"], &answer.json(), "answer")
                    .unwrap_or_else(|what| panic!("{method} {path}: {what}"));
            }
        } else {
            assert!(
                answer.body.is_empty(),
                "{method} {path} {status}: no body is described: {answer:?}"
            );
        }
    }
}

fn is_a(name: &str, value: &Value) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => panic!("{name} is no JSON type"),
    }
}

fn check_text(schema: &Value, text: &str) -> Result<(), String> {
    let bound = |name: &str, usual: u64| schema.get(name).and_then(Value::as_u64).unwrap_or(usual);
    let length = text.chars().count() as u64;
    if length < bound("minLength", 0) || length > bound("maxLength", u64::MAX) {
        return Err("has the wrong length".to_owned());
    }
    if let Some(pattern) = schema.get("pattern").and_then(Value::as_str)
        && !regex::Regex::new(pattern).unwrap().is_match(text)
    {
        return Err(format!("is not {pattern}"));
    }
    match schema.get("format").and_then(Value::as_str) {
        Some("date-time") => {
            reckon_event::Timestamp::parse(text).map(|_| ()).map_err(|error| error.to_string())
        }
        _ => Ok(()),
    }
}

/// The paths that the router and the doors know.
fn routed(house: &House) -> BTreeSet<String> {
    let router = format!("{:?}", http::router(Arc::clone(house.app())));
    let known = regex::Regex::new(r#"RouteId\([0-9]+\): "(/[^"]*)""#).unwrap();
    let mut paths: BTreeSet<String> =
        known.captures_iter(&router).map(|found| found[1].to_owned()).collect();
    paths.retain(|path| path != "/" && !path.contains("{*"));
    let doors = ["/click", "/v1/impression", "/v1/view"];
    assert!(doors.into_iter().all(|path| http::door::door(path).is_some()));
    paths.extend(doors.map(str::to_owned));
    paths
}

fn bare(path: &str) -> String {
    path.replace("{id}", "nobody")
}

#[tokio::test(flavor = "multi_thread")]
async fn it_describes_every_route_and_no_other() {
    let house = House::new().await;
    let described = Described::read();
    let paths: BTreeSet<String> = described.paths().keys().cloned().collect();
    let routed = routed(&house);
    assert!(routed.len() >= 20, "the router was not read: {routed:?}");
    assert_eq!(paths, routed);
    let mut compared = 0;
    for path in &paths {
        for method in METHODS {
            if path == "/v1/live" && method == "get" {
                continue;
            }
            let answer = house.write(&method.to_uppercase(), &bare(path), &json!({}), None).await;
            let said = described.paths()[path].get(method).is_some();
            assert_eq!(
                answer.status != 405,
                said,
                "{method} {path} is described: {said}; {answer:?}"
            );
            if said {
                described.judge(path, method, &answer);
            }
            compared += 1;
        }
    }
    assert!(compared >= 99, "{compared}");
}

#[test]
fn it_is_whole() {
    let described = Described::read();
    assert_eq!(described.0["openapi"], "3.1.0");
    let mut names = BTreeSet::new();
    let mut used = 0;
    for (path, method, operation) in described.operations() {
        let name = operation["operationId"]
            .as_str()
            .unwrap_or_else(|| panic!("{method} {path} has no name"));
        assert!(names.insert(name), "{name} is there twice");
        assert!(
            operation["summary"].is_string() && operation["security"].is_array(),
            "{method} {path}"
        );
        assert!(
            operation["responses"].as_object().is_some_and(|said| !said.is_empty()),
            "{method} {path}"
        );
        let in_path = path.matches('{').count();
        let parameters =
            operation.get("parameters").and_then(Value::as_array).cloned().unwrap_or_default();
        let parameters: Vec<&Value> =
            parameters.iter().map(|parameter| described.resolve(parameter)).collect();
        assert_eq!(
            parameters.iter().filter(|parameter| parameter["in"] == "path").count(),
            in_path,
            "{method} {path}"
        );
        used += 1;
    }
    assert!(used >= 26, "{used}");
    let mut places = Vec::new();
    references(&described.0, &mut places);
    assert!(places.len() > 100, "{}", places.len());
    for place in &places {
        described.resolve(&json!({"$ref": place}));
    }
    for name in described.0["components"]["schemas"].as_object().unwrap().keys() {
        let place = format!("#/components/schemas/{name}");
        let streamed = ["LiveEvent"].contains(&name.as_str());
        assert!(streamed || places.contains(&place), "{name} is used nowhere");
    }
}

fn references(value: &Value, places: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            places.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|value| references(value, places));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, places)),
        _ => {}
    }
}

#[test]
fn every_example_is_of_its_schema() {
    let described = Described::read();
    let mut compared = 0;
    for (name, schema) in described.0["components"]["schemas"].as_object().unwrap() {
        let example = schema.get("example").unwrap_or_else(|| panic!("{name} has no example"));
        described.check(schema, example, name).unwrap_or_else(|what| panic!("{what}"));
        compared += 1;
    }
    for (path, method, operation) in described.operations() {
        let responses = operation["responses"]
            .as_object()
            .unwrap()
            .values()
            .map(|said| described.resolve(said));
        for holder in responses.chain(operation.get("requestBody")) {
            for content in
                holder.get("content").and_then(Value::as_object).into_iter().flat_map(Map::values)
            {
                let many = content
                    .get("examples")
                    .and_then(Value::as_object)
                    .into_iter()
                    .flat_map(Map::values);
                for example in many.map(|example| &example["value"]).chain(content.get("example")) {
                    let place = format!("{method} {path}");
                    described
                        .check(&content["schema"], example, &place)
                        .unwrap_or_else(|what| panic!("{what}"));
                    compared += 1;
                }
            }
        }
    }
    assert!(compared >= 50, "{compared}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_is_taken_and_answered_as_described() {
    let house = House::new().await;
    let described = Described::read();
    let posted = [
        "/v1/advertisers",
        "/v1/campaigns",
        "/v1/ads",
        "/v1/events",
        "/v1/ads/serve",
        "/api/predict",
        "/v1/keys",
        "/v1/users",
    ];
    let mut sent = 0;
    for (path, method) in posted.map(|path| (path, "post")).into_iter().chain([
        ("/v1/advertisers/{id}", "patch"),
        ("/v1/campaigns/{id}", "patch"),
        ("/v1/ads/{id}", "patch"),
    ]) {
        let operation = &described.paths()[path][method];
        let id = operation["parameters"][0]["example"].as_str().unwrap_or_default();
        let examples = operation["requestBody"]["content"]["application/json"]["examples"]
            .as_object()
            .unwrap();
        for example in examples.values() {
            let answer = house
                .write(&method.to_uppercase(), &path.replace("{id}", id), &example["value"], None)
                .await;
            assert!(answer.status < 300, "{method} {path}: {answer:?}");
            described.judge(path, method, &answer);
            sent += 1;
        }
    }
    assert!(sent >= 14, "{sent}");
    house.settle().await;
    assert_eq!(
        house
            .post(
                "/v1/ads/serve",
                &json!({"placement": "p", "context": {"geo": "DE", "device": "mobile"}})
            )
            .await
            .json()["ads"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    for path in [
        "/v1/advertisers",
        "/v1/campaigns",
        "/v1/ads",
        "/v1/keys",
        "/healthz",
        "/readyz",
        "/metrics",
        "/openapi.json",
        "/v1/ads/top",
        "/v1/metrics",
        "/api/models/active",
        "/v1/rules",
    ] {
        let answer = house.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        described.judge(path, "get", &answer);
    }
    described.judge("/v1/users/{id}", "get", &house.get("/v1/users/u-1").await);
    for query in [
        "granularity=1m&group_by=ad_id,campaign_id,region,device,placement,position",
        "group_by=reason",
        "metrics=impressions,views,clicks,clicks_gross,invalid,duplicates,conversions,ctr,viewable_ctr,spend_micros",
    ] {
        let answer = house.get(&format!("/v1/metrics?{query}")).await;
        assert!(!answer.json()["rows"].as_array().unwrap().is_empty(), "{query}: {answer:?}");
        described.judge("/v1/metrics", "get", &answer);
    }
    let preflight = house.ask("OPTIONS", "/v1/events", &[], Body::empty()).await;
    described.judge("/v1/events", "options", &preflight);
    let click = house.browse("/click?adId=ad-1").await;
    described.judge("/click", "get", &click);
    described.judge("/v1/view", "get", &house.browse("/v1/view?imp=x").await);
}

#[test]
fn a_wrong_value_is_found() {
    let described = Described::read();
    let schema = json!({"$ref": "#/components/schemas/Ad"});
    let good = described.0["components"]["schemas"]["Ad"]["example"].clone();
    assert_eq!(described.check(&schema, &good, "ad"), Ok(()));
    for (name, value) in [
        ("status", json!("asleep")),
        ("category", json!(5)),
        ("ad_id", json!("")),
        ("created_at", json!("now")),
        ("append_click_id", json!("a=b")),
        ("quality", json!(1.5)),
        ("colour", json!("red")),
    ] {
        let mut wrong = good.clone();
        wrong[name] = value;
        assert!(described.check(&schema, &wrong, "ad").is_err(), "{name}");
    }
}
