//! What can go wrong, and how each of it is answered: one match from error to status, code and words.

use std::borrow::Cow;
use std::time::Duration;

use accounts::policy::NotAllowed;
use accounts::{AccountError, whole_seconds};
use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use domain::billing::BillingError;
use domain::events::UnreadableEvent;
use domain::ids::{CustomerId, MemberId};
use domain::ports::{CommandError, StoreError};
use projections::past::PastError;
use serde::Serialize;
use serde_json::{Map, Value};
use thiserror::Error;
use utoipa::ToSchema;

use crate::auth::Scope;
use crate::learner::refusal::Refusal;
use crate::state::ResyncError;
use crate::support::acts::refusal::ActRefusal;

/// Nobody learns from a shorter wait, which would invite to try: a letter, or a known device, is what helps.
const EXHAUSTED: Duration = Duration::from_hours(1);

/// Why a request was not answered with what it asked for. The texts are the `detail` of the answer.
#[derive(Debug, Error)]
pub enum ApiError {
    /// No token, or one that is not known.
    #[error("This needs a service token that is known here; send it as `Authorization: Bearer TOKEN`.")]
    Unauthenticated,
    /// Nobody is signed in.
    #[error("This is for somebody who is signed in; sign in with POST /v1/auth/login.")]
    NotSignedIn,
    /// What a member asked for does not fit what she has.
    #[error(transparent)]
    Membership(#[from] Refusal),
    /// What staff asked for does not fit how it stands with a member.
    #[error(transparent)]
    Act(#[from] ActRefusal),
    /// The body of a delivery is gone.
    #[error(
        "The delivery {0:?} speaks of somebody who was erased, so its body is gone and cannot be looked at again."
    )]
    DeliveryErased(String),
    /// The id of an event is not one that a stream of them gave out.
    #[error(
        "The header Last-Event-ID is not one that this stream gave out; send it back as it was, or leave it out."
    )]
    BadEventId,
    /// More streams of events at once than one member may have.
    #[error("You have {0} streams of events open already; close one, or use one for all windows.")]
    TooManyStreams(usize),
    /// A page of another origin asks for a change.
    #[error(
        "This was asked by a page of another origin, or does not say by whose; pages have to be of this service (PUBLIC_URL) \
         or of an origin in LEARN_ORIGINS, programs use a service token or send no cookies."
    )]
    ForeignOrigin,
    /// Nobody signs in here.
    #[error(
        "Nobody signs in at this service: it answers other programs only. Its operator sets SESSION_KEYS and PUBLIC_URL to change that."
    )]
    SignInNotConfigured,
    /// There is nothing to send letters with.
    #[error(
        "This needs a letter, and this service cannot send any; its operator sets SMTP_URL to change that."
    )]
    MailNotConfigured,
    /// Somebody who is signed in is not of the staff.
    #[error("This is for staff; sign in with an account that has the role support or owner.")]
    NotStaff,
    /// Staff without a second factor.
    #[error(
        "Staff needs a second factor for this; set one up with POST /v1/auth/second-factor/enrol, then ask again."
    )]
    SecondFactorRequired,
    /// The rules about staff say no.
    #[error("You may not do this: {0}.")]
    NotAllowed(#[from] NotAllowed),
    /// It could not be done with an account.
    #[error("{}", in_account_words(.0))]
    Account(AccountError),
    /// The token does not allow this.
    #[error("This needs the scope {0}, which the token does not have; use a token that has it.")]
    MissingScope(Scope),
    /// No member has this id.
    #[error("No member has the id {0:?}; create members with POST /v1/members.")]
    UnknownMember(String),
    /// No video has this id.
    #[error("The catalogue has no video {0:?}; the id is the one in the catalogue file.")]
    UnknownVideo(String),
    /// The catalogue of that moment had no such video.
    #[error("The catalogue of that moment has no video {0:?}; ask about a later moment or another video.")]
    UnknownVideoThen(String),
    /// No delivery has this id.
    #[error("No delivery has the id {0:?}; GET /v1/support/deliveries lists those that came in.")]
    UnknownDelivery(String),
    /// No event of the member is at this place.
    #[error("No event of this member is at {0:?}; her timeline lists them with their positions.")]
    UnknownEvent(String),
    /// Nothing is served at this path.
    #[error("Nothing is served at {0:?}; /docs lists every path.")]
    NoSuchPath(String),
    /// The path is served, but not with this method.
    #[error("{path:?} is not served with {method}; {}.", offered(allow))]
    MethodNotAllowed {
        /// What was asked with.
        method: Method,
        /// The path.
        path: String,
        /// The methods it is served with.
        allow: String,
    },
    /// The position header is not a token of ours.
    #[error(
        "The header Membership-Position is not a position; send one back as it was given, such as p-1f, or leave it out."
    )]
    BadPosition,
    /// A moment could not be read.
    #[error("{0} is not a moment in RFC 3339, such as 2026-11-22T10:00:00Z (write + as %2B in a query).")]
    BadTime(&'static str),
    /// The path or the query could not be read.
    #[error("The address could not be read: {0}.")]
    BadQuery(String),
    /// A cursor that no list gave out.
    #[error(
        "The cursor is not one that this list gave out; send `next_cursor` of the page before, or leave it out."
    )]
    BadCursor,
    /// The body is not JSON.
    #[error("The body is not well-formed JSON: {0}.")]
    MalformedJson(String),
    /// The body was sent as something else than JSON.
    #[error("The body has to be JSON; send it with `Content-Type: application/json`.")]
    NotJson,
    /// The body is JSON, but not of the right shape.
    #[error("The body has the wrong shape: {0}.")]
    WrongShape(String),
    /// A field has a value that cannot be used.
    #[error("{field} cannot be used: {why}.")]
    Invalid {
        /// The field.
        field: &'static str,
        /// What is wrong and what would be right.
        why: Cow<'static, str>,
    },
    /// The body is too large.
    #[error("The body is larger than this path takes ({} KiB for the API); send less at once.", crate::BODY_LIMIT / 1024)]
    TooLarge,
    /// The key of a command cannot be one.
    #[error(
        "Idempotency-Key has to be sent once, with 1 to 255 visible ASCII characters, such as a UUID made for this command."
    )]
    BadIdempotencyKey,
    /// The command with this key is being carried out.
    #[error("The command with this Idempotency-Key is being carried out; ask again shortly for its answer.")]
    IdempotencyKeyInUse,
    /// The key was used for another command.
    #[error(
        "This Idempotency-Key was used for another body or query; make a new key for each command, and send the same again only \
         to repeat it."
    )]
    IdempotencyKeyReused,
    /// The caller asks too often.
    #[error("You ask too often; ask again in {seconds} s. RateLimit-Policy says how often is not.")]
    AskedTooOften {
        /// When to ask again.
        seconds: u32,
    },
    /// The e-mail address belongs to another member.
    #[error("This e-mail address belongs to {0} already; use that member, or another address.")]
    EmailTaken(MemberId),
    /// The external id belongs to another member than the one asked for.
    #[error("This external id belongs to {0} already; use that member, or another external id.")]
    ExternalIdTaken(MemberId),
    /// The member id belongs to another external id than the one asked for.
    #[error("The member {0} is there already, for another external id; leave `id` out, or choose another.")]
    IdTaken(MemberId),
    /// The payer belongs to another member.
    #[error("The customer {customer} cannot be linked: {why}.")]
    LinkedElsewhere {
        /// The payer.
        customer: CustomerId,
        /// Whose it is and what to do.
        why: String,
    },
    /// This node is rebuilding the directory already.
    #[error(
        "This node is rebuilding the directory already; GET /v1/support/projections shows how far it is."
    )]
    RebuildRunning,
    /// Others keep changing the same thing.
    #[error("{0} is being changed by others; ask again.")]
    Contended(String),
    /// The billing provider cannot be asked now.
    #[error("The billing provider cannot be asked now, so nothing was changed; ask again later ({0}).")]
    BillingUnavailable(String),
    /// The billing provider says no.
    #[error("The billing provider refuses ({code}): {message}")]
    BillingRefused {
        /// The provider's word.
        code: String,
        /// The provider's sentence.
        message: String,
    },
    /// There is no key to ask the billing provider with.
    #[error("This service has no key for the billing provider; set STRIPE_SECRET_KEY and start it again.")]
    BillingNotConfigured,
    /// The index has not read the log yet.
    #[error(
        "The service has just started and is still reading its log; ask again shortly. GET /readyz says how far it is."
    )]
    NotReady,
    /// This node has not come to the position yet.
    #[error("This node has not come to the asked position within 2 seconds; ask again shortly.")]
    Behind,
    /// More requests at once than there is room for.
    #[error("The service has more to do at once than it has room for; nothing was done. Ask again shortly.")]
    Overloaded,
    /// The answer was not ready in time.
    #[error(
        "There was no answer within {} seconds; what was asked may or may not have been done. Ask again shortly.", .0.as_secs()
    )]
    TookTooLong(Duration),
    /// The body trickled in, or did not come.
    #[error("The body was not there within {} seconds, and nothing was done; send it at once.", .0.as_secs())]
    SlowBody(Duration),
    /// Some checks of readiness fail; what they found goes into the answer.
    #[error("Not ready: {failing}.")]
    Unready {
        /// Their names and reasons.
        failing: String,
        /// The whole report.
        report: Map<String, Value>,
    },
    /// The store could not do it.
    #[error("{}", in_store_words(.0))]
    Store(#[from] StoreError),
    /// An event that the answer depends on cannot be read.
    #[error(
        "This version of the service cannot read {0}. Access checks keep to what was known before that event; \
         GET /v1/support/projections lists what stands still. Give this to the service's operator: a version that knows \
         the event, or its repair, ends it."
    )]
    Unreadable(UnreadableEvent),
    /// A handler panicked.
    #[error("The service made a mistake; this has been logged. Give the request id to its operator.")]
    Panicked(String),
    /// A refusal from below the handlers.
    #[error("The request was refused.")]
    Other(StatusCode),
}

impl ApiError {
    /// The one place where an error gets its status, code and title.
    fn kind(&self) -> (StatusCode, &'static str, &'static str) {
        use StatusCode as S;
        match self {
            Self::Unauthenticated => (S::UNAUTHORIZED, "unauthenticated", "Not authenticated"),
            Self::NotSignedIn => (S::UNAUTHORIZED, "not_signed_in", "Not signed in"),
            Self::Membership(refusal) => refusal.kind(),
            Self::Act(refusal) => refusal.kind(),
            Self::DeliveryErased(_) => (S::CONFLICT, "erased", "Erased"),
            Self::BadEventId => (S::BAD_REQUEST, "bad_event_id", "Bad event id"),
            Self::TooManyStreams(_) => (S::TOO_MANY_REQUESTS, "too_many_streams", "Too many streams"),
            Self::ForeignOrigin => (S::FORBIDDEN, "foreign_origin", "Asked from elsewhere"),
            Self::SignInNotConfigured => (S::CONFLICT, "sign_in_not_configured", "Nobody signs in here"),
            Self::MailNotConfigured => (S::CONFLICT, "mail_not_configured", "No letters"),
            Self::SecondFactorRequired => {
                (S::FORBIDDEN, "second_factor_required", "A second factor is needed")
            }
            Self::Account(error) => account_kind(error),
            Self::NotAllowed(_) => (S::FORBIDDEN, "not_allowed", "Not allowed"),
            Self::NotStaff | Self::MissingScope(_) => (S::FORBIDDEN, "forbidden", "Not allowed"),
            Self::UnknownMember(_) => (S::NOT_FOUND, "unknown_member", "Unknown member"),
            Self::UnknownVideo(_) | Self::UnknownVideoThen(_) => {
                (S::NOT_FOUND, "unknown_video", "Unknown video")
            }
            Self::UnknownDelivery(_) => (S::NOT_FOUND, "unknown_delivery", "Unknown delivery"),
            Self::UnknownEvent(_) => (S::NOT_FOUND, "unknown_event", "Unknown event"),
            Self::NoSuchPath(_) => (S::NOT_FOUND, "no_such_path", "No such path"),
            Self::MethodNotAllowed { .. } => {
                (S::METHOD_NOT_ALLOWED, "method_not_allowed", "Method not allowed")
            }
            Self::BadPosition => (S::BAD_REQUEST, "bad_position", "Bad position"),
            Self::BadTime(_) => (S::BAD_REQUEST, "bad_time", "Bad moment"),
            Self::BadQuery(_) => (S::BAD_REQUEST, "bad_query", "Bad query"),
            Self::BadCursor => (S::BAD_REQUEST, "bad_cursor", "Bad cursor"),
            Self::MalformedJson(_) => (S::BAD_REQUEST, "malformed_json", "Malformed JSON"),
            Self::NotJson => (S::UNSUPPORTED_MEDIA_TYPE, "not_json", "Not JSON"),
            Self::WrongShape(_) => (S::UNPROCESSABLE_ENTITY, "wrong_shape", "Wrong shape"),
            Self::Invalid { .. } => (S::UNPROCESSABLE_ENTITY, "invalid", "Invalid value"),
            Self::TooLarge => (S::PAYLOAD_TOO_LARGE, "too_large", "Too large"),
            Self::BadIdempotencyKey => (S::BAD_REQUEST, "bad_idempotency_key", "Bad idempotency key"),
            Self::IdempotencyKeyInUse => (S::CONFLICT, "idempotency_key_in_use", "Being carried out"),
            Self::IdempotencyKeyReused => {
                (S::UNPROCESSABLE_ENTITY, "idempotency_key_reused", "Idempotency key reused")
            }
            Self::AskedTooOften { .. } => (S::TOO_MANY_REQUESTS, "rate_limited", "Asked too often"),
            Self::EmailTaken(_) => (S::CONFLICT, "email_taken", "E-mail address taken"),
            Self::ExternalIdTaken(_) => (S::CONFLICT, "external_id_taken", "External id taken"),
            Self::IdTaken(_) => (S::CONFLICT, "id_taken", "Member id taken"),
            Self::LinkedElsewhere { .. } => (S::CONFLICT, "linked_elsewhere", "Customer linked elsewhere"),
            Self::RebuildRunning => (S::CONFLICT, "rebuild_running", "Rebuild running"),
            Self::Contended(_) => (S::SERVICE_UNAVAILABLE, "contended", "Changed by others"),
            Self::BillingUnavailable(_) => {
                (S::SERVICE_UNAVAILABLE, "billing_unavailable", "Billing provider unavailable")
            }
            Self::BillingRefused { .. } => {
                (S::BAD_GATEWAY, "billing_refused", "Refused by the billing provider")
            }
            Self::BillingNotConfigured => {
                (S::CONFLICT, "billing_not_configured", "No key for the billing provider")
            }
            Self::NotReady | Self::Unready { .. } => (S::SERVICE_UNAVAILABLE, "not_ready", "Not ready"),
            Self::Behind => (S::SERVICE_UNAVAILABLE, "behind", "Behind"),
            Self::Overloaded => (S::SERVICE_UNAVAILABLE, "overloaded", "Overloaded"),
            Self::TookTooLong(_) => (S::SERVICE_UNAVAILABLE, "took_too_long", "Took too long"),
            Self::SlowBody(_) => (S::REQUEST_TIMEOUT, "slow_body", "Slow body"),
            Self::Store(StoreError::Unavailable(_)) => {
                (S::SERVICE_UNAVAILABLE, "store_unavailable", "Store unavailable")
            }
            Self::Store(StoreError::ReadOnly(_)) => {
                (S::SERVICE_UNAVAILABLE, "read_only", "Store is read-only")
            }
            Self::Unreadable(_) => (S::INTERNAL_SERVER_ERROR, "unreadable_event", "Unreadable event"),
            Self::Store(StoreError::Corrupt(_)) | Self::Panicked(_) => {
                (S::INTERNAL_SERVER_ERROR, "internal", "Internal error")
            }
            Self::Other(status) => (*status, "refused", status.canonical_reason().unwrap_or("Refused")),
        }
    }

    /// The status it is answered with.
    pub fn status(&self) -> StatusCode {
        self.kind().0
    }

    /// Its stable code.
    pub(crate) fn code(&self) -> &'static str {
        self.kind().1
    }

    /// What staff have to see in the log and nobody else.
    fn cause(&self) -> Option<String> {
        match self {
            Self::Store(error) => Some(error.to_string()),
            Self::Unreadable(event) => Some(event.to_string()),
            Self::Panicked(cause) => Some(cause.clone()),
            Self::TookTooLong(limit) => Some(format!("no answer within {limit:?}")),
            _ => None,
        }
    }
}

/// A problem that has not been written yet: the shell, which knows the request's id, writes and logs it. Pages take it out of
/// the answer before and show it as one of theirs.
#[derive(Debug, Clone)]
pub struct Pending {
    pub(crate) status: StatusCode,
    /// A stable code.
    pub code: &'static str,
    /// The kind of problem in a few words.
    pub title: &'static str,
    /// What is wrong, why, and what to do.
    pub detail: String,
    report: Map<String, Value>,
    cause: Option<String>,
}

/// An error as it is written (RFC 9457, `application/problem+json`).
#[derive(Debug, Serialize, ToSchema)]
pub struct Problem<'p> {
    /// A URI that names the kind of problem: `urn:membership:problem:` and the code.
    #[serde(rename = "type")]
    kind: String,
    /// The kind of problem in a few words; the same for every problem with this code.
    title: &'p str,
    /// The HTTP status.
    #[schema(example = 404)]
    status: u16,
    /// What is wrong, why, and what to do.
    detail: &'p str,
    /// A stable code to act on.
    #[schema(example = "unknown_member")]
    code: &'p str,
    /// Names this request in the service's log.
    request_id: &'p str,
    #[serde(flatten)]
    #[schema(ignore)]
    report: &'p Map<String, Value>,
}

impl Pending {
    /// Takes it out of an answer, if the answer is to become one, and logs what only the log may have.
    pub fn take(response: &mut Response, request_id: &str) -> Option<Self> {
        let pending: Self = response.extensions_mut().remove()?;
        if let Some(cause) = &pending.cause {
            tracing::error!(request_id, code = pending.code, cause, "request failed");
        }
        Some(pending)
    }

    /// The problem as JSON.
    pub(crate) fn body(&self, request_id: &str) -> Vec<u8> {
        let problem = Problem {
            kind: format!("urn:membership:problem:{}", self.code),
            title: self.title,
            status: self.status.as_u16(),
            detail: &self.detail,
            code: self.code,
            request_id,
            report: &self.report,
        };
        serde_json::to_vec(&problem).unwrap_or_default()
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, code, title) = self.kind();
        let (detail, cause) = (self.to_string(), self.cause());
        let mut response = status.into_response();
        let headers = response.headers_mut();
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"membership\""));
        }
        if status == StatusCode::SERVICE_UNAVAILABLE || matches!(self, Self::IdempotencyKeyInUse) {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if let Self::AskedTooOften { seconds } = self {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Self::Account(error) = &self
            && let Some(wait) = wait(error)
        {
            headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
        }
        let report = if let Self::Unready { report, .. } = self { report } else { Map::new() };
        response.extensions_mut().insert(Pending { status, code, title, detail, report, cause });
        response
    }
}

impl From<AccountError> for ApiError {
    fn from(error: AccountError) -> Self {
        match error {
            AccountError::InvalidEmail => Self::Invalid { field: "email", why: error.to_string().into() },
            AccountError::Contended(what) => Self::Contended(what),
            AccountError::Store(error) => Self::Store(error),
            error => Self::Account(error),
        }
    }
}

/// What became of something that was asked of an account.
fn account_kind(error: &AccountError) -> (StatusCode, &'static str, &'static str) {
    use AccountError as E;
    use StatusCode as S;
    match error {
        E::InvalidEmail => (S::UNPROCESSABLE_ENTITY, "invalid", "Invalid value"),
        E::Password(_) => (S::UNPROCESSABLE_ENTITY, "password_refused", "Password refused"),
        E::WrongCredentials => (S::UNAUTHORIZED, "wrong_credentials", "Wrong address or password"),
        E::Locked(_) => (S::FORBIDDEN, "account_locked", "Account locked"),
        E::LastOwner => (S::CONFLICT, "last_owner", "The last owner"),
        E::AccountExists(_) => (S::CONFLICT, "account_exists", "Account there already"),
        E::WrongCode => (S::UNAUTHORIZED, "wrong_code", "Wrong code"),
        E::Throttled { .. } => (S::TOO_MANY_REQUESTS, "too_many_attempts", "Too many attempts"),
        E::Exhausted => (S::TOO_MANY_REQUESTS, "too_many_wrong_passwords", "Too many wrong passwords"),
        E::Busy => (S::SERVICE_UNAVAILABLE, "busy", "Busy"),
        E::BadToken => (S::BAD_REQUEST, "bad_token", "Link not valid"),
        E::SessionEnded => (S::UNAUTHORIZED, "session_ended", "Session ended"),
        E::NoSession => (S::NOT_FOUND, "unknown_session", "Unknown session"),
        E::EmailTaken => (S::CONFLICT, "email_taken", "E-mail address taken"),
        E::Paying => (S::CONFLICT, "still_paying", "Still paying"),
        E::NoAccount => (S::CONFLICT, "no_account", "No account"),
        E::NoAddress => (S::CONFLICT, "no_address", "No e-mail address"),
        E::Confirmed => (S::CONFLICT, "already_confirmed", "Address confirmed already"),
        E::SecondFactorSet => (S::CONFLICT, "second_factor_set", "Second factor there already"),
        E::NoSecondFactor => (S::CONFLICT, "no_second_factor", "No second factor"),
        E::NoProviders => (S::CONFLICT, "providers_not_configured", "No providers"),
        E::UnknownProvider => (S::NOT_FOUND, "unknown_provider", "Unknown provider"),
        E::ProviderUnavailable(_) => {
            (S::SERVICE_UNAVAILABLE, "provider_unavailable", "Provider not available")
        }
        E::ProviderRefused(_) => (S::BAD_REQUEST, "provider_answer_refused", "Provider not believed"),
        E::SignInDenied => (S::BAD_REQUEST, "sign_in_denied", "Not signed in there"),
        E::BadFlow => (S::BAD_REQUEST, "bad_flow", "Not begun here"),
        E::EmailNotVerified => (S::FORBIDDEN, "email_not_verified", "Address not confirmed there"),
        E::EmailKnown => (S::CONFLICT, "email_known", "Address known here"),
        E::IdentityTaken => (S::CONFLICT, "identity_taken", "Linked to another account"),
        E::NoIdentity => (S::NOT_FOUND, "unknown_identity", "Unknown identity"),
        E::LastWayIn => (S::CONFLICT, "last_way_in", "Only way in"),
        E::SignInAgain => (S::UNAUTHORIZED, "sign_in_again", "Sign in again"),
        E::Contended(_) => (S::SERVICE_UNAVAILABLE, "contended", "Changed by others"),
        E::Store(_) => (S::SERVICE_UNAVAILABLE, "store_unavailable", "Store unavailable"),
    }
}

/// How long to wait before asking again.
fn wait(error: &AccountError) -> Option<Duration> {
    match error {
        AccountError::Throttled { retry_after } => Some(*retry_after),
        AccountError::Exhausted => Some(EXHAUSTED),
        _ => None,
    }
}

/// As a sentence, with what to do.
fn in_account_words(error: &AccountError) -> String {
    let what = error.to_string();
    let mut rest = what.chars();
    let first: String = rest.next().map(|first| first.to_uppercase().collect()).unwrap_or_default();
    let more = match error {
        AccountError::Paying => " with POST /v1/me/membership/cancel, then delete the account",
        AccountError::BadToken => {
            " with POST /v1/auth/forgot-password or /v1/auth/resend-verification, or sign in again"
        }
        _ => "",
    };
    format!("{first}{}{more}.", rest.as_str())
}

impl From<PastError> for ApiError {
    fn from(error: PastError) -> Self {
        match error {
            PastError::UnknownMember(member) => Self::UnknownMember(member.to_string()),
            PastError::UnknownVideo(video) => Self::UnknownVideoThen(video),
            PastError::NotCaughtUp => Self::Behind,
            PastError::Store(error) => Self::Store(error),
            PastError::Unreadable(event) => Self::Unreadable(event),
        }
    }
}

impl From<BillingError> for ApiError {
    fn from(error: BillingError) -> Self {
        match error {
            BillingError::Refused { code, message } => Self::BillingRefused { code, message },
            BillingError::NotConfigured => Self::BillingNotConfigured,
            BillingError::Unavailable(_) | BillingError::RateLimited { .. } => {
                Self::BillingUnavailable(error.to_string())
            }
        }
    }
}

impl From<ResyncError> for ApiError {
    fn from(error: ResyncError) -> Self {
        match error {
            ResyncError::Billing(error) => error.into(),
            ResyncError::Store(error) => Self::Store(error),
            ResyncError::Contended(what) => Self::Contended(what),
        }
    }
}

/// A command that was not carried out, where the rules' own refusal is told by `refused`.
pub(crate) fn not_done<R: std::error::Error>(
    error: CommandError<R>,
    refused: impl FnOnce(R) -> ApiError,
) -> ApiError {
    match error {
        CommandError::Refused(refusal) => refused(refusal),
        CommandError::Contended(what) => ApiError::Contended(what),
        CommandError::Erased(_) => Refusal::Erased.into(),
        CommandError::Store(error) => ApiError::Store(error),
    }
}

fn in_store_words(error: &StoreError) -> &'static str {
    match error {
        StoreError::Unavailable(_) => {
            "The store cannot be reached; nothing was changed that was not confirmed. Ask again shortly."
        }
        StoreError::Corrupt(_) => {
            "The service cannot read what it has stored; this has been logged. Give the request id to its operator."
        }
        StoreError::ReadOnly(_) => {
            "Another process writes to the store, so this one only reads; ask that one, or ask again later."
        }
    }
}

fn offered(allow: &str) -> String {
    if allow.is_empty() { "see /docs".to_owned() } else { format!("use {}", allow.replace(',', ", ")) }
}
