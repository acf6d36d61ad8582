create or replace temp table programme as
with told_once as (
    select distinct eligible, json_extract_string(eligible, '$.CommitmentPrograms[*].ProgramType') as names
    from charge where eligible is not null and json_valid(eligible)
)
select distinct eligible, unnest(names) as name from told_once
union
select eligible, 'any' as name from told_once where len(names) > 0
