-- name: key_text
-- Fragment: the value of a key of the metadata, as text.
(a.{metadata} ->> {key})

-- name: key_text_guarded
-- Fragment: the same where rows may have metadata that the database cannot give: NULL then.
fasthash.text_of(a.{metadata}, {key})

-- name: metadata_kind
-- Fragment: what the metadata are; all but an object cannot be written to.
{typeof}(a.{metadata})

-- name: metadata_kind_guarded
-- Fragment: the same, NULL where the database cannot tell.
fasthash.type_of(a.{metadata})

-- name: path_text
-- Fragment: the path.
a.{path}::text

-- name: path_text_guarded
-- Fragment: the same; bytes that are no text are shown by their numbers.
fasthash.shown(a.{path}::text)

-- name: unreadable
-- Fragment: why the database cannot give a row, in its own words; NULL where it can.
NULL::text

-- name: unreadable_guarded
-- Fragment: the same, tried.
coalesce(fasthash.unreadable(a.{metadata}), fasthash.unreadable(a.{path}::text))

-- name: digest
-- Fragment: the hash that a text is: 64 hexadecimal digits, in capitals or not; also with blanks
-- around, or behind `sha256:`. NULL where it is none. (A pattern with {64} takes ten times as long.)
CASE WHEN length({text}) = 64 AND {text} !~ '[^0-9a-fA-F]' THEN lower({text} COLLATE "C")
     ELSE substring(lower({text} COLLATE "C")
                    FROM '^\s*(?:sha-?256\s*[:=]\s*)?([0-9a-f]{{64}})\s*$') END

-- name: compared
-- Fragment: what a file's hash is compared with: the hash that a text is, or else the text itself,
-- which no hash is equal to. An empty one is none.
coalesce({digest}, nullif(btrim({text}, E' \t\r\n'), ''))

-- name: is_time
-- Fragment: whether a text is a time as ISO 8601 has them, in its extended form.
{text} ~ ('^[0-9]{{4}}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])'
          || 'T(?:[01][0-9]|2[0-3]):[0-5][0-9](?::(?:[0-5][0-9]|60)(?:[.,][0-9]+)?)?'
          || '(?:Z|[+-](?:[01][0-9]|2[0-3])(?::?[0-5][0-9])?)?$')

-- name: marker_exact
-- Fragment: the marker, which counts only if it is a time and the row has a hash. Compared byte by
-- byte: ISO 8601 in UTC sorts as the times do. (Of a marker with another offset the order is wrong
-- by that offset, which is at most 14 hours.)
(CASE WHEN {is_time} AND ({digest}) IS NOT NULL THEN {marker_text} END COLLATE "C")

-- name: marker
-- Fragment: the same in 1 us in place of 10, if it is as fasthash writes it: the conversions fail
-- where they are no hash or time, and then all is read again with the fragment below.
(CASE WHEN {is_ours} THEN {marker_text}
      WHEN {marker_text} IS NOT NULL THEN {marker_exact} END COLLATE "C")

-- name: is_ours
-- Fragment: whether a row has a hash and a marker as fasthash writes them.
{marker_text} LIKE '____-__-__T__:__:__.______Z' AND octet_length({hash_text}) = 64
AND octet_length(decode({hash_text}, 'hex')) = 32 AND {marker_text}::timestamptz IS NOT NULL

-- name: is_ours_guarded
-- Fragment: the same, where it might fail.
false

-- name: marker_guarded
-- Fragment: the same; an empty one, which is older than any, for a row that cannot be read.
(CASE WHEN {unreadable} IS NOT NULL THEN '' ELSE {marker_exact} END COLLATE "C")

-- name: size
-- Fragment: the recorded size, where it is a number that a file can have. (A pattern with {1,18}
-- takes three times as long.)
CASE WHEN length({size_text}) BETWEEN 1 AND 18 AND {size_text} !~ '[^0-9]'
     THEN ({size_text})::bigint END
