-- Which contract commitments a row names besides CommitmentDiscountId, and what of it counts there, or null for all of it.
-- JSON's reader makes a double of a number: where that is EffectiveCost's, EffectiveCost has all digits.
insert into applied
select
    $source, record, json_extract_string(element, '$.ContractCommitmentId') as commitment,
    case
        when try_cast(told as double) = cast(coalesce(effective, billed) as double) then null
        else amount(told)
    end as cost
from (
    select
        *, json_extract_string(element, '$.ContractCommitmentAppliedCost') as told
    from (
        select record, billed, effective, unnest(json_extract(applied, '$.Elements[*]')) as element
        from staged where fault is null and json_valid(applied)
    ) as elements
) as read_once
where commitment is not null
