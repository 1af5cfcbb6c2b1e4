//! A member's account: who may sign in, and with which rights.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What somebody who is signed in may do. Each may do what those before it may.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Learn.
    #[default]
    Member,
    /// Help members.
    Support,
    /// Everything.
    Owner,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 3] = [Self::Member, Self::Support, Self::Owner];

    /// The role as it is written everywhere.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Support => "support",
            Self::Owner => "owner",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
