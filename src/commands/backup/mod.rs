//! The sub-command `backup`: makes one through any node, or reads one.

mod fetch;
mod verify;

pub use self::{
    fetch::run,
    verify::{Verified, verify},
};
