//! Rows of persons.

use reckon_event::{TenantId, Timestamp};

use super::tenant_of;
use super::tombstone::pseudonym_of;
use crate::error::Error;
use crate::person::Person;

/// The values of `tenant, person, locale, interests, updated_at`.
pub(crate) type PersonColumns = (i64, Vec<u8>, Option<String>, String, i64);

pub(crate) const COLUMNS: &str = "tenant, person, locale, interests, updated_at";

pub(crate) fn person_of(columns: PersonColumns) -> Result<(TenantId, Person), Error> {
    let (tenant, person, locale, interests, updated_at) = columns;
    let interests = serde_json::from_str(&interests)
        .map_err(|cause| Error::damaged(format!("interests of a person: {cause}")))?;
    let person = Person {
        person: pseudonym_of(&person)?,
        locale,
        interests,
        updated_at: Timestamp(updated_at),
    };
    Ok((tenant_of(tenant)?, person))
}

/// Interests as a text column holds them.
pub(crate) fn interests_to_column(person: &Person) -> String {
    serde_json::json!(person.interests).to_string()
}

/// Refuses a person who was erased.
pub(crate) fn erased() -> Error {
    Error::conflict("the person was erased: nothing is kept of them any more".to_owned())
}
