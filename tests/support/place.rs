//! A file or a server: cases that take where a hub keeps everything as a parameter run on both.

use crate::{
    database::Database,
    hub::{Builder, Hub},
};

/// Where a hub keeps everything.
pub struct Place(Option<Database>);

impl Place {
    /// The file of each hub.
    #[must_use]
    pub const fn file() -> Self {
        Self(None)
    }

    /// A database of a server, which goes with this.
    pub async fn server() -> Self {
        Self(Some(Database::fresh().await))
    }

    /// What starts a hub there.
    #[must_use]
    pub fn builder(&self) -> Builder {
        match &self.0 {
            None => Hub::builder(),
            Some(database) => Hub::builder().on(database),
        }
    }
}

/// Writes two tests for each case, which is an async function of a [`Place`]: one in a module for each database.
#[macro_export]
macro_rules! on_both_databases {
    ($($case:ident),* $(,)?) => {
        mod on_sqlite {
            $(
                #[tokio::test]
                async fn $case() {
                    super::$case(&$crate::place::Place::file()).await;
                }
            )*
        }

        mod on_postgres {
            $(
                #[tokio::test]
                async fn $case() {
                    super::$case(&$crate::place::Place::server().await).await;
                }
            )*
        }
    };
}
