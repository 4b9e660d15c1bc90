//! A person's data: all of it, or none of it any more.
use super::work::Work;
use crate::{
    Error,
    org::{Contact, ContactKey, Erased, Export, Person},
    store::Value,
};

/// The user's own contact, and those with one of the addresses that are no user's.
async fn contacts(work: &mut Work<'_>, person: &Person) -> Result<Vec<Contact>, Error> {
    let own = work.find_contact(&ContactKey::External(person.external_id.clone())).await?;
    let mut contacts: Vec<Contact> = own.into_iter().collect();
    for email in person.emails.iter().filter(|email| !email.is_empty()) {
        for stranger in work.strangers(email).await? {
            // The same address may be given twice.
            if !contacts.contains(&stranger) {
                contacts.push(stranger);
            }
        }
    }
    Ok(contacts)
}

pub(super) async fn export(work: &mut Work<'_>, person: &Person) -> Result<Export, Error> {
    let contacts = contacts(work, person).await?;
    let mut cases = Vec::new();
    for contact in &contacts {
        for (case, key) in work.cases_of(&contact.id).await? {
            let comments = work.comments(&case.id, &key).await?;
            cases.push((case, comments));
        }
    }
    Ok(Export { contacts, cases })
}

/// Destroys the key and everything that was under it. What stays is what other systems point to: cases and comments by id,
/// number and external id, without words and without whose they are; and no change is told of them.
pub(super) async fn erase(work: &mut Work<'_>, person: &Person) -> Result<Erased, Error> {
    let mut erased = Erased::default();
    for contact in contacts(work, person).await? {
        let id = [Value::Text(&contact.id)];
        let comments = "UPDATE comments SET body = NULL, author = NULL WHERE organization_id = $1 \
                        AND case_id IN (SELECT id FROM cases WHERE organization_id = $1 AND contact_id = $2) RETURNING id";
        let changes = "DELETE FROM changes WHERE organization_id = $1 \
                       AND case_id IN (SELECT id FROM cases WHERE organization_id = $1 AND contact_id = $2)";
        let cases = "UPDATE cases SET subject = NULL, description = NULL, contact_id = NULL \
                     WHERE organization_id = $1 AND contact_id = $2 RETURNING id";
        erased.comments += count(work.rows(comments, &id).await?.len());
        work.rows(changes, &id).await?;
        erased.cases += count(work.rows(cases, &id).await?.len());
        work.rows("DELETE FROM contacts WHERE organization_id = $1 AND id = $2", &id).await?;
        work.rows("DELETE FROM person_keys WHERE organization_id = $1 AND person_id = $2", &id).await?;
        erased.contacts += 1;
    }
    Ok(erased)
}

fn count(rows: usize) -> u32 {
    u32::try_from(rows).unwrap_or(u32::MAX)
}
