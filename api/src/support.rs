//! What happened to a member, how did it stand with her, and why was an answer what it was?

pub mod explain;
pub mod timeline;

use domain::ports::Position;
use projections::past::AsOf;

use crate::error::ApiError;
use crate::extract::moment;
use crate::state::ApiState;

/// Which moment a question is about; now, with all that is known, where it does not say.
pub(crate) fn as_of(
    state: &ApiState,
    at: Option<&str>,
    known_at: Option<&str>,
    position: Option<&str>,
) -> Result<AsOf, ApiError> {
    let at = at.map(|at| moment("at", at)).transpose()?.unwrap_or_else(|| state.now());
    let known_at = known_at.map(|known_at| moment("known_at", known_at)).transpose()?;
    let bad =
        || ApiError::BadQuery("position is not one; send one back as it was given, such as p-1f".to_owned());
    let parse = |token: &str| Position::parse(token).ok_or_else(bad);
    Ok(AsOf { at, known_at, position: position.map(parse).transpose()? })
}
