//! The schema, step by step: each engine has its own text of each step, in a folder of its own.

use sqlx::SqlStr;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};

use crate::error::Error;

/// A step: its version, its name, its text. One that was released is never edited.
pub(crate) type Step = (i64, &'static str, SqlStr);

pub(crate) fn migrator(steps: impl IntoIterator<Item = Step>) -> Migrator {
    let migration = |(version, description, sql): Step| {
        Migration::new(version, description.into(), MigrationType::Simple, sql, false)
    };
    Migrator::with_migrations(steps.into_iter().map(migration).collect())
}

/// A schema this build does not know is not damage to mend but a newer build's books.
pub(crate) fn migration_failure(cause: MigrateError) -> Error {
    match cause {
        MigrateError::VersionMissing(version) => newer(version).caused_by(cause),
        MigrateError::Execute(cause) | MigrateError::ExecuteMigration(cause, _) => cause.into(),
        other => Error::damaged(format!("the books cannot be migrated: {other}")).caused_by(other),
    }
}

/// Refuses books that have not taken just the steps of this build.
pub(crate) fn require_all(taken: &[(i64,)], migrator: &Migrator) -> Result<(), Error> {
    if let Some(&(version,)) = taken.iter().find(|&&(version,)| !migrator.version_exists(version)) {
        return Err(newer(version));
    }
    if taken.len() < migrator.iter().count() {
        let problem = "the books have an older schema: open them once with this build";
        return Err(Error::damaged(problem.to_owned()));
    }
    Ok(())
}

/// The books have steps that this build has not.
fn newer(version: i64) -> Error {
    Error::damaged(format!(
        "the books have schema version {version}, which this build does not know: use a newer build"
    ))
}
