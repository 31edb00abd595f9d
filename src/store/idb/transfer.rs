//! A database as a file: on its way out, and on its way in.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;
use send_wrapper::SendWrapper;

use super::database::Slot;
use super::image::{Image, Snapshot};
use super::vfs;
use crate::store::{Error, transfer};
use crate::sync::Created;

/// The bytes of a database as it was at one moment, a file that any SQLite reads.
pub struct Export(SendWrapper<Snapshot>);

impl Export {
    pub(super) fn new(snapshot: Snapshot) -> Self {
        Self(SendWrapper::new(snapshot))
    }

    /// How many bytes are still to come.
    pub fn left(&self) -> u64 {
        self.0.left()
    }

    /// The next bytes, until none are left.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        Ok(self.0.next().map(Bytes::from))
    }
}

/// A database that is being made from a file. Nothing is stored before it is [finished](Self::finish).
pub struct Import(SendWrapper<Incoming>);

struct Incoming {
    slot: Rc<Slot>,
    image: Image,
}

/// Where the header of a file says which journal it has been written with; and the value for a rollback journal. With the
/// other, the write-ahead log, the file could not be opened here, and a file without its log needs none.
const JOURNAL: (u64, [u8; 2]) = (18, [1, 1]);

impl Import {
    pub(super) fn new(slot: Rc<Slot>) -> Self {
        Self(SendWrapper::new(Incoming { slot, image: Image::default() }))
    }

    /// Takes the next bytes.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        let image = &mut self.0.image;
        image.write(&bytes, image.size()).map_err(|_| Error::StorageFull)
    }

    /// Makes the file the database: all of it is durable then, or nothing of it is there. One that is damaged or no
    /// replica's is [`Error::InvalidFile`], and where there is a database by now, [`Error::Exists`].
    pub fn finish(self) -> impl Future<Output = Result<Created, Error>> + Send {
        let Incoming { slot, image } = self.0.take();
        SendWrapper::new(async move {
            let (image, created) = adopt(image)?;
            slot.fill(image).await?;
            Ok(created)
        })
    }
}

/// Lets SQLite have the file, to see what it is and to give it another site id.
fn adopt(mut image: Image) -> Result<(Image, Created), Error> {
    let (offset, journal) = JOURNAL;
    if image.size() > offset {
        image.write(&journal, offset).map_err(|_| Error::StorageFull)?;
    }
    let image = Rc::new(RefCell::new(image));
    let conn = vfs::connect(&image).map_err(|error| Error::InvalidFile(error.to_string()))?;
    let created = transfer::adopt(conn)?;
    // SQLite has closed the file, so that nobody else has it.
    let image = Rc::try_unwrap(image).map_err(|_| Error::Io("SQLite still has the file open".into()))?;
    Ok((image.into_inner(), created))
}
