//! Events for the journal.
//!
//! `journalctl` shows nothing but the message of an entry, and most of ours say what happened in the
//! message and why in a field. So the fields are appended to the message, beside being fields.

use std::fmt::{self, Write};

use tracing::{
    Event, Subscriber,
    field::{Field, Value, Visit},
};
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::{Layer, layer::Context, registry::LookupSpan};

/// The journal's layer, with complete messages and syslog's usual priorities.
pub(super) fn readable(layer: tracing_journald::Layer) -> Complete<tracing_journald::Layer> {
    Complete(layer.with_priority_mappings(PriorityMappings {
        info: Priority::Informational,
        debug: Priority::Debug,
        ..PriorityMappings::new()
    }))
}

/// Hands events with complete messages to the layer inside.
pub(super) struct Complete<L>(L);

impl<S, L> Layer<S> for Complete<L>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    L: Layer<S>,
{
    fn on_new_span(
        &self,
        attributes: &tracing::span::Attributes<'_>,
        id: &tracing::span::Id,
        context: Context<'_, S>,
    ) {
        self.0.on_new_span(attributes, id, context);
    }

    fn on_record(
        &self,
        id: &tracing::span::Id,
        values: &tracing::span::Record<'_>,
        context: Context<'_, S>,
    ) {
        self.0.on_record(id, values, context);
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let texts = fields.complete();
        let values: Vec<Option<&dyn Value>> = event
            .metadata()
            .fields()
            .iter()
            .map(|field| {
                let text = texts.iter().find(|(name, _)| *name == field.name());
                text.map(|(_, text)| text as &dyn Value)
            })
            .collect();
        let values = event.metadata().fields().value_set_all(&values);
        self.0
            .on_event(&Event::new(event.metadata(), &values), context);
    }
}

/// The fields of an event, as text.
#[derive(Default)]
struct Fields(Vec<(&'static str, String)>);

impl Fields {
    /// Returns the fields, with a message that contains all the others.
    fn complete(mut self) -> Vec<(&'static str, String)> {
        let mut message = String::new();
        if let Some(at) = self.0.iter().position(|(name, _)| *name == "message") {
            message = self.0.remove(at).1;
        }
        for (name, text) in &self.0 {
            let separator = if message.is_empty() { "" } else { " " };
            // Writing to a string cannot fail.
            let _ = write!(message, "{separator}{name}={text}");
        }
        self.0.push(("message", message));
        self.0
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.push((field.name(), value.to_owned()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.push((field.name(), format!("{value:?}")));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    type Entries = Arc<Mutex<Vec<Vec<(&'static str, String)>>>>;

    struct Capture(Entries);

    impl<S: Subscriber> Layer<S> for Capture {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let mut fields = Fields::default();
            event.record(&mut fields);
            self.0.lock().unwrap().push(fields.0);
        }
    }

    #[test]
    fn a_message_has_the_fields_and_they_stay_fields() {
        let entries = Entries::default();
        let subscriber = tracing_subscriber::registry().with(Complete(Capture(entries.clone())));
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(error = %"disk on fire", attempt = 3, "cannot write {}", "it");
            tracing::info!(revision = 7);
        });
        let entries = entries.lock().unwrap();
        let of = |at: usize, name: &str| {
            let field = entries[at].iter().find(|(field, _)| *field == name);
            field.map(|(_, text)| text.clone())
        };
        assert_eq!(
            of(0, "message").unwrap(),
            "cannot write it error=disk on fire attempt=3"
        );
        assert_eq!(of(0, "error").unwrap(), "disk on fire");
        assert_eq!(of(0, "attempt").unwrap(), "3");
        assert_eq!(of(1, "revision").unwrap(), "7");
    }
}
