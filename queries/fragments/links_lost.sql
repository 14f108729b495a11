-- title: whether the row that counts lacks a link that a row it replaced still has
-- why: an engine may write its own row after the sync; with the next merge its links would be gone
(
    argMax(client_order_id = '', version) AND countIf(client_order_id != '') > 0
    OR argMax(engine_instance_id = '', version) AND countIf(engine_instance_id != '') > 0
    OR argMax(engine_version = '', version) AND countIf(engine_version != '') > 0
    OR argMax(decision_id = toUUID('00000000-0000-0000-0000-000000000000'), version)
        AND countIf(decision_id != toUUID('00000000-0000-0000-0000-000000000000')) > 0
)
