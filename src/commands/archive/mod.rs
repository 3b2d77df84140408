//! The sub-command `archive`: what is in an archive, whether it is whole, and what of it may go.

mod prune;
mod show;

use archive::{
    Objects,
    inspection::{self, InspectionError},
    place::{self, PlaceError},
};

use crate::{
    args::{ArchiveArgs, ArchiveCommand, PlaceFlags},
    process::progress::Progress,
};

#[derive(Debug, thiserror::Error)]
pub enum ArchiveCommandError {
    #[error(transparent)]
    Place(#[from] PlaceError),
    #[error("{place}: {source}")]
    Archive {
        place: String,
        source: InspectionError,
    },
}

/// A place, and the objects in it.
struct Opened {
    place: place::Place,
    objects: Objects,
}

impl Opened {
    fn open(flags: &PlaceFlags) -> Result<Self, PlaceError> {
        let place = place::open(&flags.url, &flags.access.options())?;
        let objects = Objects::new(place.store().clone());
        Ok(Self { place, objects })
    }

    /// Names an error by what can be done, if it is one of the place.
    fn failed(&self, error: InspectionError) -> ArchiveCommandError {
        let of_place = match &error {
            InspectionError::Object(error) => self.place.failed_object(error),
            _ => None,
        };
        match of_place {
            Some(error) => error.into(),
            None => ArchiveCommandError::Archive {
                place: self.place.to_string(),
                source: error,
            },
        }
    }
}

/// Does what was asked for, and returns what there is to say.
pub async fn run(args: &ArchiveArgs, now_s: i64) -> Result<String, ArchiveCommandError> {
    match &args.command {
        ArchiveCommand::List(flags) => {
            let opened = Opened::open(flags)?;
            let found = inspection::contents(&opened.objects).await;
            Ok(show::contents(
                &found.map_err(|error| opened.failed(error))?,
            ))
        }
        ArchiveCommand::Verify(flags) => {
            let opened = Opened::open(flags)?;
            let mut progress = Progress::bytes("read", None);
            let verified =
                inspection::verify(&opened.objects, |bytes| progress.advance(bytes)).await;
            Ok(show::verified(
                &verified.map_err(|error| opened.failed(error))?,
            ))
        }
        ArchiveCommand::Prune(wanted) => prune::run(wanted, now_s).await,
    }
}
