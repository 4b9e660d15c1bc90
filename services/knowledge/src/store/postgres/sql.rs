//! Every statement on PostgreSQL, so that a test can ask the server which index each one uses.
//!
//! Columns are named one by one: a prepared `SELECT *` fails when a migration adds a column beneath it.

/// Every column of a version beside its article, and what follows.
macro_rules! articles {
    ($tail:literal) => {
        concat!(
            "SELECT v.article_id, v.version, v.is_current, v.title, v.body, v.language, v.category, v.subcategory, v.tags, \
             v.internal, v.source, v.source_url, v.confidence_score, v.validated_at, v.expires_at, v.slug, v.errors, \
             v.features, v.see_also, v.product, v.created_at, a.usage_count, a.success_rate, a.archived_at, \
             a.created_at AS first_at FROM knowledge_entries v \
             JOIN articles a ON a.organization_id = v.organization_id AND a.id = v.article_id ",
            $tail
        )
    };
}

/// $1 organization, $2 article.
pub const GET: &str = articles!("WHERE v.organization_id = $1 AND v.article_id = $2 AND v.is_current");
/// $1 organization, $2 article, $3 version.
pub const GET_VERSION: &str = articles!("WHERE v.organization_id = $1 AND v.article_id = $2 AND v.version = $3");
/// $1 organization, $2 articles, $3 their versions.
pub const GET_VERSIONS: &str = articles!(
    "WHERE v.organization_id = $1 AND (v.article_id, v.version) IN (SELECT * FROM unnest($2::uuid[], $3::int[]))"
);
/// $1 organization, $2 articles.
pub const CURRENT: &str =
    articles!("WHERE v.organization_id = $1 AND v.article_id = ANY ($2) AND v.is_current AND a.archived_at IS NULL");
/// $1 organization, $2 the article before, $3 internal ones too, $4 a time when they have not expired, $5 how many.
pub const LIST: &str = articles!(
    "WHERE v.organization_id = $1 AND v.is_current AND a.archived_at IS NULL AND v.article_id > $2 AND a.id > $2 \
     AND ($3 OR NOT v.internal) AND ($4::timestamptz IS NULL OR v.expires_at IS NULL OR v.expires_at > $4) \
     ORDER BY v.article_id LIMIT $5"
);
/// As [`LIST`]; $6 category. A statement of its own: "any category or this one" would leave the index unused.
pub const LIST_CATEGORY: &str = articles!(
    "WHERE v.organization_id = $1 AND v.is_current AND a.archived_at IS NULL AND v.article_id > $2 AND a.id > $2 \
     AND ($3 OR NOT v.internal) AND ($4::timestamptz IS NULL OR v.expires_at IS NULL OR v.expires_at > $4) \
     AND v.category = $6 ORDER BY v.article_id LIMIT $5"
);
/// $1 organization.
pub const KNOWN: &str = "SELECT a.id, a.slug, a.version, a.archived_at IS NOT NULL AS archived, v.source, v.hash \
     FROM articles a JOIN knowledge_entries v \
     ON v.organization_id = a.organization_id AND v.article_id = a.id AND v.version = a.version \
     WHERE a.organization_id = $1 AND a.slug <> ''";
/// $1 organization, $2 article.
pub const ARTICLE: &str =
    "SELECT version, slug, archived_at IS NOT NULL AS archived FROM articles WHERE organization_id = $1 AND id = $2";
/// $1 organization, $2 article, $3 slug, $4 time.
pub const INSERT_ARTICLE: &str =
    "INSERT INTO articles (organization_id, id, slug, version, created_at) VALUES ($1, $2, $3, 1, $4)";
/// $1 organization, $2 article, $3 version, $4 slug.
pub const UPDATE_ARTICLE: &str = "UPDATE articles SET version = $3, slug = $4 WHERE organization_id = $1 AND id = $2";
/// $1 organization, $2 article, $3 time.
pub const ARCHIVE: &str = "UPDATE articles SET archived_at = $3 WHERE organization_id = $1 AND id = $2";
/// $1 organization, $2 article.
pub const RETIRE: &str =
    "UPDATE knowledge_entries SET is_current = false WHERE organization_id = $1 AND article_id = $2 AND is_current";
/// In the order of the columns.
pub const INSERT_VERSION: &str = "INSERT INTO knowledge_entries (organization_id, article_id, version, is_current, title, body, \
     language, category, subcategory, tags, internal, source, source_url, confidence_score, validated_at, expires_at, slug, \
     errors, features, see_also, product, hash, created_at) VALUES ($1, $2, $3, true, $4, $5, $6, $7, $8, $9, $10, $11, $12, \
     $13, $14, $15, $16, $17, $18, $19, $20, $21, $22)";
/// $1 organization, $2 request.
pub const REQUEST: &str = "SELECT article_id FROM requests WHERE organization_id = $1 AND request_id = $2";
/// $1 organization, $2 request, $3 article, $4 time.
pub const INSERT_REQUEST: &str =
    "INSERT INTO requests (organization_id, request_id, article_id, created_at) VALUES ($1, $2, $3, $4)";

/// $1 generation, $2 how many.
pub const BEHIND: &str = "SELECT organization_id, article_id, version FROM index_behind WHERE generation = $1 \
     ORDER BY organization_id, article_id LIMIT $2";
/// $1 generation, $2 organization, $3 articles, $4 what the index holds of them.
pub const MARK: &str = "DELETE FROM index_behind b USING unnest($3::uuid[], $4::int[]) AS done (article_id, version) \
     WHERE b.generation = $1 AND b.organization_id = $2 AND b.article_id = done.article_id \
     AND b.version IS NOT DISTINCT FROM done.version";
/// $1 generation, $2 time.
pub const RESUME: &str = "UPDATE index_generations SET seen_at = $2 WHERE generation = $1 AND complete";
/// Generations come and go under this lock, and no article is written meanwhile.
pub const LOCK_GENERATIONS: &str = "SELECT pg_advisory_xact_lock(hashtextextended('knowledge.index_generations', 0))";
/// $1 generation, $2 time.
pub const START: &str = "INSERT INTO index_generations (generation, seen_at, complete) VALUES ($1, $2, false)";
/// $1 generation, $2 organization.
pub const FILL: &str = "INSERT INTO index_behind (generation, organization_id, article_id, version) \
     SELECT $1, organization_id, id, version FROM articles WHERE organization_id = $2 AND archived_at IS NULL \
     ON CONFLICT (generation, organization_id, article_id) DO NOTHING";
/// $1 generation.
pub const COMPLETE: &str = "UPDATE index_generations SET complete = true WHERE generation = $1";
/// $1 time.
pub const FORGET: &str = "DELETE FROM index_generations WHERE seen_at < $1";

/// Every organization that has articles has a log of them.
pub const ORGANIZATIONS: &str = "SELECT organization_id FROM activity_heads";
/// The last row of the log, held until the end of the transaction; and the partition of the next one is there. $1
/// organization, $2 time.
pub const HOLD_AND_PREPARE: &str = "INSERT INTO activity_heads (organization_id, seq, hash) \
     SELECT $1, 0, ''::bytea FROM create_monthly_partition($2) \
     ON CONFLICT (organization_id) DO UPDATE SET seq = activity_heads.seq RETURNING seq, hash";
/// The last row of the log, held until the end of the transaction. $1 organization.
pub const HOLD: &str = "SELECT seq FROM activity_heads WHERE organization_id = $1 FOR UPDATE";
/// The last row of the log. $1 organization.
pub const HEAD: &str = "SELECT seq, hash FROM activity_heads WHERE organization_id = $1";
/// Adds rows and moves the head to the last: $1 organization, $2 its number, $3 its hash; $4 time, $5 actor, $6 kind of thing;
/// $7 to $11 of each row the number, action, article, version and hash.
pub const NOTE: &str = "WITH head AS (UPDATE activity_heads SET seq = $2, hash = $3 WHERE organization_id = $1) \
     INSERT INTO activity_log (organization_id, seq, timestamp, user_id, action, resource_type, resource_id, details, hash) \
     SELECT $1, seq, $4, $5, action, $6, article_id, jsonb_build_object('version', version), hash \
     FROM unnest($7::bigint[], $8::text[], $9::uuid[], $10::int[], $11::bytea[]) AS row (seq, action, article_id, version, hash)";
/// $1 organization, $2 the first row, $3 how many.
pub const LOG: &str = "SELECT seq, timestamp, user_id, action, resource_id, (details ->> 'version')::int AS version, hash \
     FROM activity_log WHERE organization_id = $1 AND seq >= $2 ORDER BY seq LIMIT $3";
