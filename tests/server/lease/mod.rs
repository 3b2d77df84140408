//! The Lease service.

mod attach;
mod expiry;
mod grant;
mod keep_alive;
