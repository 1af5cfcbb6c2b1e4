//! The `OpenAPI` document, made from the same table as the routes, and its reader.

use axum::Router;
use axum::http::Method;
use axum::http::header::CONTENT_TYPE;
use axum::response::Html;
use axum::routing::get;
use utoipa::OpenApi as _;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{
    ComponentsBuilder, InfoBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, Required, Response, ResponseBuilder,
};
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::idempotency::is_a_command;
use crate::learner::events::AccessChanged;
use crate::observe::is_check;
use crate::webhook::Webhook;

const DESCRIPTION: &str = "Who may watch which video, now or at any moment, and why.

Times are RFC 3339 in UTC. Every object has `object`. Errors are `application/problem+json` (RFC 9457) with a stable \
`code`; their `request_id` is the answer's `x-request-id`.

**Reading your own writes.** Every answer carries `Membership-Position`. Send it with a later request, and that one is \
answered from at least that position, by any node.

**Repeating commands.** Send `Idempotency-Key` with a command, a UUID made for it, and send the same again when no answer \
came: it is carried out once, and answered alike for a day (with `Idempotent-Replayed: true`). A key belongs to its caller, \
the method and the path.

**Rates.** How often one caller may ask is told in `RateLimit-Policy` and `RateLimit`. Access checks by service token are \
not limited.

**Lists.** `limit` is 1 to 100 and 20 when left out; send `next_cursor` as `cursor` while `has_more`.";

const SCOPES: &str = "A service token. What it allows is named by its scopes: `access.read` asks for decisions, \
`members.write` makes and reads members and links their payers, `support.read` reads histories, explanations and \
deliveries, `support.write` has deliveries looked at again and members compared with the billing provider.";

const SESSION: &str = "Whoever has signed in with `POST /v1/auth/login`. The cookie is set by that; on plain HTTP, which only \
loopback may speak, it is named `access`. It lasts ten minutes and is renewed by any request with the cookie `refresh`. What \
changes something has to come from a page of this service or of an origin in `LEARN_ORIGINS` (`Sec-Fetch-Site`, else `Origin`).";

const INDEX: &str = "<!doctype html><html lang=en><meta charset=utf-8><title>Membership API</title>\
<h1>Membership API</h1><ul><li><a href=/docs/>Documentation</a><li><a href=/openapi.json>OpenAPI document</a>\
<li><a href=/readyz>Readiness</a></ul>";

/// The document before any route is in it.
pub(crate) fn preamble() -> OpenApi {
    let info = InfoBuilder::new()
        .title("Membership API")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(DESCRIPTION))
        .build();
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(SCOPES)).build();
    let session = ApiKey::Cookie(ApiKeyValue::with_description("__Host-access", SESSION));
    let components = ComponentsBuilder::new()
        .schema_from::<AccessChanged<'_>>()
        .security_scheme("bearer", SecurityScheme::Http(bearer))
        .security_scheme("session", SecurityScheme::ApiKey(session))
        .build();
    let tag = |(name, description): (&str, &str)| {
        TagBuilder::new().name(name).description(Some(description)).build()
    };
    let tags = [
        ("Access", "May this member watch this video?"),
        ("Learner", "What may I watch, what have I bought, and what do I want?"),
        ("Accounts", "Signing up and in, sessions, passwords, second factors, providers"),
        ("Members", "Who is a member, and which payer is hers?"),
        ("Support", "Why was it so, and what came in?"),
        ("Webhook", "What does the billing provider tell?"),
        ("Operations", "Does it serve, and is it ready?"),
    ];
    OpenApiBuilder::new().info(info).components(Some(components)).tags(Some(tags.map(tag))).build()
}

/// Adds the webhook, and to every operation what the shell does for every route.
pub(crate) fn complete(mut document: OpenApi) -> OpenApi {
    document.merge(Webhook::openapi());
    for (path, item) in &mut document.paths.paths {
        let limited = path.starts_with("/v1/") && !is_check(path);
        let operations = [
            (Method::GET, &mut item.get),
            (Method::PUT, &mut item.put),
            (Method::POST, &mut item.post),
            (Method::DELETE, &mut item.delete),
        ];
        for (method, operation) in operations {
            let Some(operation) = operation else { continue };
            describe(operation, limited, limited && is_a_command(&method, path));
        }
    }
    document
}

fn describe(operation: &mut Operation, limited: bool, is_a_command: bool) {
    let parameters = operation.parameters.get_or_insert_default();
    let waits = |tag: &String| !matches!(tag.as_str(), "Operations" | "Webhook");
    let waits = operation.tags.as_ref().is_some_and(|tags| tags.iter().all(waits));
    if waits {
        parameters.push(header(
            "Membership-Position",
            "Answer from at least this position: one that an earlier answer carried. Waits at most 2 seconds.",
            Some("^p-[0-9a-f]{1,16}$"),
        ));
    }
    if is_a_command {
        parameters.push(header(
            "Idempotency-Key",
            "Carry this out once, however often it is sent with this key, and answer alike: a UUID that is made for the command. \
             Answers are kept for a day; those with 401, 403, 408, 429 or 5xx are not.",
            Some(r"^[ \t]*[!-~]{1,255}[ \t]*$"),
        ));
    }
    let request_id = "Names the request in logs, events and problems; made when left out.";
    parameters.push(header("x-request-id", request_id, None));
    let mut problems = vec![(
        "500",
        "`internal`: a mistake of the service, which it has logged; `unreadable_event`: an event of the member's history \
         is of a shape that this version does not know",
    )];
    if waits {
        problems.push(("400", "What was sent could not be read: `bad_position`, `bad_time`, `bad_query`, `bad_cursor`, `malformed_json`"));
        problems.push(("503", "Not now, ask again after `Retry-After`: `behind`, `not_ready`, `store_unavailable`, `read_only`, `contended`, `overloaded`, `busy`, `took_too_long`"));
    }
    let tagged = |name: &str| operation.tags.as_ref().is_some_and(|tags| tags.iter().any(|tag| tag == name));
    let (accounts, learner, support) = (tagged("Accounts"), tagged("Learner"), tagged("Support"));
    if support && let Some(security) = &mut operation.security {
        security.push(SecurityRequirement::new::<_, [&str; 0], &str>("session", []));
    }
    if support {
        problems
            .push(("401", "`unauthenticated`: no token, or one that is not known, and nobody is signed in"));
        problems.push((
            "403",
            "`forbidden`: the token lacks the scope, or whoever is signed in is not of the staff; \
             `not_allowed`: staff may not do this, or not to her; `second_factor_required`: staff without one; \
             `foreign_origin`: asked by a page of another origin",
        ));
    } else if accounts || learner {
        problems.push(("401", "`not_signed_in`: nobody is signed in"));
        problems.push((
            "403",
            "`foreign_origin`: asked by a page of another origin, or it does not say by whose",
        ));
    }
    if accounts {
        problems.push((
            "409",
            "`sign_in_not_configured` or `mail_not_configured`: an operator has to set something first; `no_account`: \
             the account was deleted meanwhile",
        ));
        problems.push((
            "429",
            "`too_many_attempts` or `too_many_wrong_passwords`: ask again after `Retry-After`",
        ));
    } else if !learner && !support && operation.security.is_some() {
        problems.push(("401", "`unauthenticated`: no token, or one that is not known"));
        problems.push(("403", "`forbidden`: the token lacks the scope"));
    }
    if waits && operation.request_body.is_some() {
        problems.push(("408", "`slow_body`: the body did not arrive within 10 seconds"));
        problems.push(("413", "`too_large`: the body is larger than 64 KiB"));
        problems.push(("415", "`not_json`: the body was sent as something else than JSON"));
        problems.push(("422", "`wrong_shape` or `invalid`: the body was read but cannot be used"));
    }
    if limited {
        problems.push((
            "429",
            "`rate_limited`: asked more often than `RateLimit-Policy` says; ask again after `Retry-After`",
        ));
    }
    for (status, description) in problems {
        operation
            .responses
            .responses
            .entry(status.to_owned())
            .or_insert_with(|| RefOr::T(problem(description)));
    }
    if is_a_command {
        add_problem(operation, "400", "`bad_idempotency_key`");
        add_problem(operation, "409", "`idempotency_key_in_use`: the same command is being carried out");
        add_problem(operation, "422", "`idempotency_key_reused`: the key was used for another body or query");
    }
    let decides = operation.tags.as_ref().is_some_and(|tags| tags.iter().any(|tag| tag == "Access"));
    for (status, response) in &mut operation.responses.responses {
        if let RefOr::T(response) = response {
            add_headers(status, decides, limited, is_a_command, response);
        }
    }
}

/// Adds a code to those that a status is described with.
fn add_problem(operation: &mut Operation, status: &str, description: &str) {
    match operation.responses.responses.get_mut(status) {
        Some(RefOr::T(response)) => response.description = format!("{}; {description}", response.description),
        _ => drop(operation.responses.responses.insert(status.to_owned(), RefOr::T(problem(description)))),
    }
}

fn problem(description: &str) -> Response {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    ResponseBuilder::new().description(description).content("application/problem+json", content).build()
}

fn add_headers(status: &str, decides: bool, limited: bool, is_a_command: bool, response: &mut Response) {
    let mut add = |name: &str, description: &str| {
        let text = ObjectBuilder::new().schema_type(Type::String).build();
        let header = HeaderBuilder::new().schema(Some(text)).description(Some(description)).build();
        response.headers.insert(name.to_owned(), header.into());
    };
    add(
        "Membership-Position",
        "How much of the log this answer knows of; send it back to see at least as much.",
    );
    add("x-request-id", "Names the request.");
    if limited {
        add(
            "RateLimit-Policy",
            "How often one caller may ask: `q` requests in `w` seconds, unless that is switched off.",
        );
        add("RateLimit", "What is left of it: `r` requests; it is full again in `t` seconds.");
    }
    if is_a_command {
        add(
            "Idempotent-Replayed",
            "Only when this is the answer of an earlier request with the same key: `true`.",
        );
    }
    match status {
        "200" if decides => add(
            "Membership-Degraded",
            "Only while this node cannot read its log: how many seconds ago it last knew of everything.",
        ),
        "409" if is_a_command => {
            add("Retry-After", "Only with `idempotency_key_in_use`: after how many seconds to ask again.");
        }
        "429" | "503" => add("Retry-After", "After how many seconds to ask again."),
        "401" => add("WWW-Authenticate", "Always a `Bearer` challenge."),
        _ => {}
    }
}

fn header(name: &str, description: &str, pattern: Option<&str>) -> RefOr<Parameter> {
    let text = ObjectBuilder::new().schema_type(Type::String).pattern(pattern);
    let parameter = ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(description))
        .schema(Some(text.build()));
    RefOr::T(parameter.build())
}

/// The routes that show the document. They load nothing from elsewhere.
pub(crate) fn router(document: &OpenApi) -> Router {
    let json = serde_json::to_string(document).unwrap_or_default();
    let config = Config::from("/openapi.json").validator_url("none").try_it_out_enabled(true);
    Router::new()
        .route("/", get(async || Html(INDEX)))
        .route("/openapi.json", get(async move || ([(CONTENT_TYPE, "application/json")], json)))
        .merge(SwaggerUi::new("/docs").config(config))
}
