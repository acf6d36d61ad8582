-- Which rows count for a commitment of a contract: those that name it as applied, and those whose discount it is.
select applied.source_id, applied.record, applied.commitment, applied.cost
from applied
where applied.commitment in (select contract.commitment from contract)
union all
select charge.source_id, charge.record, charge.commitment, cast(null as decimal(38, 18)) as cost
from charge
left join applied
    on
        charge.source_id = applied.source_id and charge.record = applied.record
        and charge.commitment = applied.commitment
where charge.commitment in (select contract.commitment from contract) and applied.record is null
