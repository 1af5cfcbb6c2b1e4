//! `/v1`: a call comes in as text and an object goes out. No I/O.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::params::Params;
use super::{read, write};
use crate::engine::Cause;
use crate::engine::clock::{DAY, Seconds};
use crate::engine::error::ApiError;
use crate::shapes;
use crate::simulator::Simulator;

/// How long idempotency keys are remembered.
const KEYS_FOR: Seconds = DAY;

/// A call to the API.
#[derive(Debug, Clone, Default)]
pub(crate) struct Call {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) form: String,
    pub(crate) idempotency_key: Option<String>,
    pub(crate) request: Option<String>,
}

impl Call {
    pub(crate) fn plain(method: &str, path: &str, form: &str) -> Self {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let (path, query) = (path.to_owned(), query.to_owned());
        Self { method: method.to_owned(), path, query, form: form.to_owned(), ..Self::default() }
    }
}

/// An answer that is given again for the same idempotency key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Remembered {
    at: Seconds,
    call: String,
    answer: Result<Value, (u16, Value)>,
}

/// Does what a call says.
pub(crate) fn call(simulator: &mut Simulator, call: &Call) -> Result<Value, ApiError> {
    let now = simulator.now();
    simulator.engine.cause =
        Cause { request: call.request.clone(), idempotency_key: call.idempotency_key.clone() };
    let answer = carry_out(simulator, call, now);
    simulator.engine.cause = Cause::default();
    answer
}

fn carry_out(simulator: &mut Simulator, call: &Call, now: Seconds) -> Result<Value, ApiError> {
    let Some(path) = call.path.strip_prefix("/v1/") else { return Err(unknown(call)) };
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let mut text = call.query.clone();
    if !text.is_empty() && !call.form.is_empty() {
        text.push('&');
    }
    text.push_str(&call.form);
    let mut params = Params::read(&text)?;
    let expand = params.texts("expand")?;
    let mut answer = match call.method.as_str() {
        "GET" => read::read(simulator, &segments, &mut params, call),
        "POST" => write::write(simulator, &segments, &mut params, call, now),
        "DELETE" => write::delete(simulator, &segments, &mut params, call),
        _ => Err(unknown(call)),
    }?;
    for path in &expand {
        let path: Vec<&str> = path.split('.').collect();
        expand_in(simulator, &mut answer, &path)?;
    }
    Ok(answer)
}

/// The answer that an idempotency key already has.
pub(crate) fn remembered(simulator: &Simulator, call: &Call) -> Option<Result<Value, (u16, Value)>> {
    let kept = simulator.remembered.get(call.idempotency_key.as_ref()?)?;
    if kept.at + KEYS_FOR <= simulator.now() {
        return None;
    }
    if kept.call != signature(call) {
        let why = "Keys for idempotent requests can only be used with the same parameters they were first used with.";
        return Some(Err((400, ApiError::new(400, "idempotency_error", why).body())));
    }
    Some(kept.answer.clone())
}

/// Keeps an answer for its idempotency key, failures too. As with Stripe, not one that refused what was asked before
/// anything `happened`: that may be put right and sent again with its key.
pub(crate) fn remember(
    simulator: &mut Simulator,
    call: &Call,
    answer: &Result<Value, (u16, Value)>,
    happened: bool,
) {
    let Some(key) = call.idempotency_key.clone().filter(|_| call.method == "POST") else { return };
    if !happened && matches!(answer, Err((400 | 409, _))) {
        return;
    }
    let at = simulator.now();
    simulator.remembered.retain(|_, kept| kept.at + KEYS_FOR > at);
    simulator.remembered.insert(key, Remembered { at, call: signature(call), answer: answer.clone() });
}

fn signature(call: &Call) -> String {
    format!("{} {}?{} {}", call.method, call.path, call.query, call.form)
}

pub(super) fn unknown(call: &Call) -> ApiError {
    let why = format!(
        "Unrecognized request URL ({}: {}). This simulator may not speak that part of Stripe's API.",
        call.method, call.path
    );
    ApiError::new(404, "invalid_request_error", why)
}

/// Puts objects where their ids are, along a path such as `data.customer` or `latest_invoice.payments`.
fn expand_in(simulator: &Simulator, value: &mut Value, path: &[&str]) -> Result<(), ApiError> {
    let Some((first, rest)) = path.split_first() else { return Ok(()) };
    let store = &simulator.engine.store;
    if let Value::Array(values) = value {
        return values.iter_mut().try_for_each(|value| expand_in(simulator, value, path));
    }
    let (kind, id) = (value["object"].as_str().unwrap_or_default(), value["id"].as_str().unwrap_or_default());
    let special = match (kind, *first) {
        ("invoice", "payments") => store.invoices.find(id).map(|kept| shapes::invoice_payments(kept, store)),
        ("checkout.session", "line_items") => {
            store.sessions.find(id).map(|kept| shapes::line_items(kept, store))
        }
        _ => None,
    };
    if let Some(special) = special {
        value[*first] = special;
    }
    let Some(field) = value.get_mut(*first) else {
        let why = format!("This property cannot be expanded ({first}).");
        return Err(ApiError::invalid(why).at("expand"));
    };
    if let Some(object) = field.as_str().and_then(|id| shapes::by_id(store, id)) {
        *field = object;
    }
    if field.is_null() { Ok(()) } else { expand_in(simulator, field, rest) }
}
