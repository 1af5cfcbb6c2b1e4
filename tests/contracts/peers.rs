//! What `docs/accounts.md` says answers the peers' sign-in surface does: every route it names is in the OpenAPI document, every
//! route for signing in is named, and no entry is left without an answer.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

/// The entries that were read, by what each row begins with.
const ENTRIES: [&str; 50] = [
    "dj-rest-auth: login",
    "dj-rest-auth: logout",
    "dj-rest-auth: password/reset",
    "dj-rest-auth: password/reset/confirm",
    "dj-rest-auth: password/change",
    "dj-rest-auth: token/verify",
    "dj-rest-auth: token/refresh",
    "dj-rest-auth: registration",
    "dj-rest-auth: registration/verify-email",
    "dj-rest-auth: registration/resend-email",
    "dj-rest-auth: {provider} social",
    "dj-rest-auth: GET user",
    "dj-rest-auth: PUT, PATCH user",
    "dj-rest-auth: cookie settings",
    "Better Auth: change-email",
    "Better Auth: delete-user and its callback",
    "Better Auth: list, revoke, revoke-other sessions",
    "Better Auth: list-accounts, link, unlink social",
    "Better Auth: verify-password",
    "Better Auth: admin list, get",
    "Better Auth: admin create",
    "Better Auth: admin ban, unban",
    "Better Auth: admin set-role",
    "Better Auth: admin set-password",
    "Better Auth: admin impersonate",
    "Better Auth: admin revoke sessions",
    "Better Auth: 2FA enable, TOTP",
    "Better Auth: 2FA disable",
    "Better Auth: 2FA OTP by mail",
    "Better Auth: 2FA backup codes",
    "Better Auth: JWKS token",
    "Better Auth: stripe upgrade",
    "Better Auth: stripe cancel",
    "Better Auth: stripe restore",
    "Better Auth: stripe list",
    "Better Auth: stripe billing-portal",
    "Better Auth: stripe success",
    "Better Auth: stripe webhook",
    "rauthy: growing delay",
    "rauthy: blocks at 7, 10, 15, 20, 25 failures",
    "rauthy: scanner detection",
    "protection: memory-hard hash",
    "protection: Origin check, Fetch-Metadata on first login",
    "protection: non-simple requests only",
    "protection: secret rotation by key version",
    "protection: verified e-mail before upgrade",
    "protection: limits per path",
    "weak default: throttle without a rate",
    "weak default: access tokens outlive logout",
    "entry",
];

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    fs::read_to_string(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()))
}

/// The rows of the table: entry and answer.
fn rows(document: &str) -> Vec<(&str, &str)> {
    let (_, table) = document.split_once("## What the peers have").expect("the table");
    let cells = table.lines().filter_map(|row| row.strip_prefix("| ")?.strip_suffix(" |")?.split_once(" | "));
    cells.collect()
}

/// The routes that a text names in backticks.
fn routes(text: &str) -> BTreeSet<String> {
    let quoted = text.split('`').skip(1).step_by(2);
    let is_route = |quoted: &&str| {
        let methods = ["GET ", "POST ", "PUT ", "PATCH ", "DELETE "];
        methods.iter().any(|method| quoted.starts_with(method))
    };
    quoted.filter(is_route).map(|route| route.split('?').next().unwrap_or_default().to_owned()).collect()
}

/// The routes of the OpenAPI document.
fn documented() -> BTreeSet<String> {
    let document: Value = serde_json::from_str(&read("docs/openapi.json")).expect("it is JSON");
    let paths = document["paths"].as_object().expect("it has paths");
    let of_path = paths.iter().flat_map(|(path, operations)| {
        let methods = operations.as_object().into_iter().flatten();
        methods.map(move |(method, _)| format!("{} {path}", method.to_uppercase()))
    });
    of_path.collect()
}

/// What the table names and the service has not, and what it has for signing in and the table does not name.
fn disagreements(document: &str, documented: &BTreeSet<String>) -> BTreeSet<String> {
    let named: BTreeSet<String> = rows(document).iter().flat_map(|(_, answer)| routes(answer)).collect();
    let everywhere = routes(document);
    let unknown = everywhere.difference(documented).map(|route| format!("no such route: {route}"));
    let unnamed = documented.difference(&named).filter(|route| route.contains(" /v1/auth/"));
    unknown.chain(unnamed.map(|route| format!("not in the table: {route}"))).collect()
}

#[test]
fn every_entry_of_the_peers_has_an_answer_and_every_route_it_names_is_there() {
    let (document, documented) = (read("docs/accounts.md"), documented());
    let entries: BTreeSet<&str> = rows(&document).into_iter().map(|(entry, _)| entry).collect();
    assert_eq!(entries, BTreeSet::from(ENTRIES));
    assert_eq!(disagreements(&document, &documented), BTreeSet::new());
    let changed = document.replace("`POST /v1/auth/refresh`", "`POST /v1/auth/renew`");
    let expected =
        ["no such route: POST /v1/auth/renew", "not in the table: POST /v1/auth/refresh"].map(str::to_owned);
    assert_eq!(disagreements(&changed, &documented), BTreeSet::from(expected));
}

#[test]
fn what_is_answered_otherwise_is_in_the_decision_that_the_table_names() {
    let document = read("docs/accounts.md");
    let decision = "adr/0011-what-the-peers-have-and-is-answered-otherwise.md";
    let told = read(&format!("docs/{decision}"));
    let named = rows(&document).into_iter().filter(|(_, answer)| answer.contains(decision)).count();
    assert!(named >= 8, "{named} rows name it");
    for word in [
        "JWKS",
        "`token/verify`",
        "impersonation",
        "passwords",
        "codes by mail",
        "`success`",
        "rauthy",
        "scanners",
    ] {
        assert!(told.contains(word), "{word} is not in {decision}");
    }
}
