//! The meter through which metrics are exported.

use std::sync::OnceLock;

use opentelemetry::metrics::Meter;

static METER: OnceLock<Meter> = OnceLock::new();

pub(super) fn start(meter: Meter) {
    let _ = METER.set(meter);
}

/// Returns none where no metrics are exported.
pub fn meter() -> Option<&'static Meter> {
    METER.get()
}
