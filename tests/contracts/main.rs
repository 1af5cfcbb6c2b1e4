//! What every implementation of a port must do, in the same words for each.

// Said once more, so that clippy takes the helpers for tests too.
#[cfg(test)]
mod architecture;
#[cfg(test)]
mod clock;
#[cfg(test)]
mod event_shapes;
#[cfg(test)]
mod model;
#[cfg(test)]
mod peers;
#[cfg(test)]
mod reading_back;
#[cfg(test)]
mod signing_in;
#[cfg(test)]
mod store;
#[cfg(test)]
mod support_page;
#[cfg(test)]
mod unlinked;
