//! How something is asked of the billing provider for a member: written down first, done once, and its answer written down
//! too, whether she waits for it or not.

use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::HeaderName;
use axum::http::request::Parts;
use domain::billing::{Billing, BillingError};
use domain::ids::{MemberId, SubscriptionId};
use domain::member::{Answer, MemberCommand, MemberEvent, Wish};
use domain::metadata::Context;
use domain::ports::Position;
use projections::dossier::Dossier;
use sha2::{Digest, Sha256};
use tokio::time::timeout;
use tracing::Instrument;

use super::refusal::Refusal;
use crate::error::{ApiError, not_done};
use crate::shell::Asked;
use crate::state::{ApiState, LearnerParts};
use crate::viewer::Viewer;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// How long a member waits for the provider: less than a request may take at all.
const PATIENCE: Duration = Duration::from_secs(6);

/// How long an answer waits for the index to know what it tells of.
const CATCHING_UP: Duration = Duration::from_secs(1);

/// A member who asks for something, and the key that makes the provider do it once.
#[derive(Clone)]
pub struct Asking {
    pub(super) state: ApiState,
    pub(super) viewer: Viewer,
    pub(super) key: String,
    request_id: String,
}

impl FromRequestParts<ApiState> for Asking {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let viewer: Viewer = parts.extensions.get().cloned().ok_or(ApiError::NotSignedIn)?;
        let Ok(asked) = Asked::from_request_parts(parts, state).await;
        let request_id = asked.request_id().to_owned();
        let member = &viewer.member;
        // Both come from outside and could be anybody's, so the member is a part of the key.
        let key = match parts.headers.get(IDEMPOTENCY_KEY) {
            Some(given) => format!("{member}-idem_{}", &hex::encode(Sha256::digest(given.as_bytes()))[..32]),
            None => format!("{member}-{request_id}"),
        };
        Ok(Self { state: state.clone(), viewer, key, request_id })
    }
}

impl Asking {
    pub(super) fn member(&self) -> &MemberId {
        &self.viewer.member
    }

    pub(super) fn learner(&self) -> &LearnerParts {
        &self.state.learner
    }

    pub(super) fn billing(&self) -> Result<&dyn Billing, ApiError> {
        self.learner().billing.as_deref().ok_or(ApiError::BillingNotConfigured)
    }

    pub(super) fn context(&self, key: &str) -> Context {
        let now = self.state.now();
        let context = Context::asked_by(self.viewer.actor(), &self.request_id, now);
        Context { correlation_id: key.to_owned(), ..context }
    }

    pub(super) async fn dossier(&self) -> Result<Dossier, ApiError> {
        Ok(self.state.history()?.dossier(self.member()).await?)
    }

    pub(super) async fn tell(&self, key: &str, command: MemberCommand) -> Result<Vec<MemberEvent>, ApiError> {
        let done = self.state.members.execute(self.member().as_str(), command, self.context(key)).await;
        let done = done.map_err(|error| not_done(error, |refused| Refusal::from(refused).into()))?;
        Ok(done.events)
    }

    /// Writes down what she wants; whether that is new.
    pub(super) async fn ask(&self, wish: Wish) -> Result<bool, ApiError> {
        let command = MemberCommand::Ask { key: self.key.clone(), wish };
        Ok(!self.tell(&self.key, command).await?.is_empty())
    }

    /// Writes down what the provider answered, and hands it on.
    pub(super) async fn answered<T>(
        &self,
        key: &str,
        answer: Result<T, BillingError>,
        told: impl FnOnce(&T) -> Answer,
    ) -> Result<T, ApiError> {
        let record = match &answer {
            Ok(done) => told(done),
            Err(BillingError::Refused { code, .. }) => Answer::Refused { code: code.clone() },
            Err(BillingError::NotConfigured) => Answer::Refused { code: "not_configured".to_owned() },
            Err(BillingError::Unavailable(_) | BillingError::RateLimited { .. }) => Answer::Unanswered,
        };
        self.tell(key, MemberCommand::RecordAnswer { key: key.to_owned(), answer: record }).await?;
        Ok(answer?)
    }

    /// Has the log know at once what became of a subscription. What cannot be looked up now is told by webhooks.
    pub(super) async fn follow(&self, subscription: &SubscriptionId) {
        let looked = self.learner().purchases.subscription(subscription, &self.key).await;
        if let Err(error) = looked {
            tracing::warn!(%subscription, %error, "what came of a request is not known yet");
        }
    }

    /// Waits a little until answers know of this position, so that what she looks at next agrees.
    pub(super) async fn known(&self, position: Position) {
        self.state.index_progress.wait_for(position, CATCHING_UP).await;
    }

    /// Carries something out to its end, also when nobody waits for it any more.
    pub(super) async fn to_its_end<T: Send + 'static>(
        work: impl Future<Output = Result<T, ApiError>> + Send + 'static,
    ) -> Result<T, ApiError> {
        let task = tokio::spawn(work.in_current_span());
        match timeout(PATIENCE, task).await {
            Ok(Ok(done)) => done,
            Ok(Err(panic)) => Err(ApiError::Panicked(panic.to_string())),
            Err(_) => {
                let what = "it has not answered yet; what was asked for may still be done";
                Err(ApiError::BillingUnavailable(what.to_owned()))
            }
        }
    }
}
