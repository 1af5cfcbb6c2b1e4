//! The document and its reader.

use std::path::Path;

use domain::access::{Action as A, Reason as R};
use serde_json::Value;

use super::world::World;
use crate::decision::{AccessReason, FixAction};

/// What anybody may ask.
const OPEN: [&str; 12] = [
    "/v1/auth/providers",
    "/v1/auth/providers/{provider}/start",
    "/v1/auth/providers/{provider}/callback",
    "/v1/auth/register",
    "/v1/auth/resend-verification",
    "/v1/auth/verify-email",
    "/v1/auth/login",
    "/v1/auth/login/second-factor",
    "/v1/auth/logout",
    "/v1/auth/refresh",
    "/v1/auth/forgot-password",
    "/v1/auth/reset-password",
];

#[test]
fn the_openapi_snapshot_is_fresh() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi.json");
    let made = serde_json::to_string_pretty(&crate::openapi()).unwrap() + "\n";
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == made,
        "docs/openapi.json is stale; refresh it with: UPDATE_SNAPSHOTS=1 cargo nextest run -p api openapi"
    );
}

#[test]
fn the_openapi_document_describes_every_operation_fully() {
    let document = serde_json::to_value(crate::openapi()).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["info"]["title"], "Membership API");
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(document["components"]["securitySchemes"]["bearer"]["scheme"], "bearer");
    let mut ids = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let name = format!("{method} {path}");
            ids.push(operation["operationId"].as_str().unwrap().to_owned());
            assert!(operation["summary"].is_string(), "{name}");
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.contains_key("500"), "{name}");
            for (status, response) in responses {
                assert!(response["headers"]["Membership-Position"].is_object(), "{name} {status}");
                if status.starts_with('3') {
                    continue;
                }
                let problem = !status.starts_with('2');
                if status == "204" {
                    assert!(response.get("content").is_none(), "{name} {status}");
                    continue;
                }
                let content = response["content"].as_object().unwrap();
                assert_eq!(content.contains_key("application/problem+json"), problem, "{name} {status}");
            }
            if path.starts_with("/v1/") {
                assert_eq!(operation["security"].is_array(), !OPEN.contains(&path.as_str()), "{name}");
                for status in ["400", "401", "403", "503"] {
                    assert!(responses.contains_key(status), "{name} {status}");
                }
            }
        }
    }
    let count = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), count, "operation ids are unique");
    every_reference_resolves(&document, &document);
}

fn every_reference_resolves(document: &Value, part: &Value) {
    match part {
        Value::Object(fields) => {
            if let Some(Value::String(reference)) = fields.get("$ref") {
                let pointer = reference.strip_prefix('#').unwrap();
                assert!(document.pointer(pointer).is_some(), "{reference} is not in the document");
            }
            fields.values().for_each(|field| every_reference_resolves(document, field));
        }
        Value::Array(items) => items.iter().for_each(|item| every_reference_resolves(document, item)),
        _ => {}
    }
}

#[test]
fn reasons_and_actions_are_written_as_the_domain_writes_them() {
    for reason in [
        R::Free,
        R::Subscription,
        R::Trial,
        R::Grace,
        R::CancelsLater,
        R::Grant,
        R::NotSignedIn,
        R::NoMembership,
        R::PlanTooLow,
        R::PaymentPending,
        R::PastDue,
        R::Unpaid,
        R::Paused,
        R::Ended,
        R::Disputed,
        R::Refunded,
        R::StatusUnknown,
    ] {
        assert_eq!(serde_json::to_value(AccessReason::from(reason)).unwrap(), reason.as_str());
    }
    for action in [
        A::SignIn,
        A::Subscribe,
        A::Upgrade,
        A::CompletePayment,
        A::UpdatePaymentMethod,
        A::Resume,
        A::ContactSupport,
    ] {
        assert_eq!(serde_json::to_value(FixAction::from(action)).unwrap(), action.as_str());
    }
}

#[tokio::test]
async fn the_document_and_its_reader_are_served_from_here_alone() {
    let world = World::new().await;
    let document = world.get("/openapi.json").await;
    assert_eq!(document.header("content-type"), "application/json");
    assert_eq!(document.json(), serde_json::to_value(crate::openapi()).unwrap());
    assert_eq!(world.get("/docs").await.header("location"), "/docs/");
    let page = world.get("/docs/").await;
    assert_eq!(page.status, 200);
    assert!(page.text.contains("swagger-ui") && !page.text.contains("src=\"http"));
    let script = world.get("/docs/swagger-initializer.js").await.text;
    assert!(script.contains("/openapi.json") && script.contains("\"validatorUrl\": \"none\""), "{script}");
    assert!(!script.contains("petstore"));
    world.get("/docs/nothing.js").await.problem(404, "no_such_path");
    assert!(world.get("/").await.text.contains("/docs"));
}
