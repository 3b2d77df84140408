//! The sub-command `archive`: what is in an archive, whether it is whole, and what of it may go.

mod prune;
mod show;

use archive::{
    Objects,
    inspection::{self, InspectionError},
    place::{self, PlaceError, PlaceOptions},
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
        let options = PlaceOptions {
            credentials_file: flags.credentials_file.clone(),
            trusted_ca_file: flags.cacert.clone(),
            key_file: flags.key_file.clone(),
            ..PlaceOptions::default()
        };
        let place = place::open(&flags.url, &options)?;
        let objects = Objects::new(place.store().clone());
        Ok(Self { place, objects })
    }

    /// Names an error by what can be done, if it is one of the place.
    fn failed(&self, error: InspectionError) -> ArchiveCommandError {
        match &error {
            InspectionError::Object(archive::ObjectError::Store(of_store)) => {
                self.place.failed("", of_store).into()
            }
            _ => ArchiveCommandError::Archive {
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
