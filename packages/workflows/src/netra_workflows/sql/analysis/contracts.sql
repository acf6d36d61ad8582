-- What of each commitment of a contract was used and what was not, amortised. The row read last tells what was agreed.
with agreed as (
    select contract.*
    from contract
    left join contract as later
        on
            contract.contract = later.contract and contract.commitment = later.commitment
            and contract.currency = later.currency
            and (
                later.source_id > contract.source_id
                or (later.source_id = contract.source_id and later.record > contract.record)
            )
    where later.record is null
)

select
    agreed.contract, agreed.commitment, coalesce(agreed.kind, 'unknown') as kind, agreed.currency, agreed.cost,
    agreed.started, agreed.ended,
    sum(
        case
            when charge.category = 'Usage' and coalesce(charge.commitment_status, 'Used') = 'Used'
                then coalesce(link.cost, charge.effective)
            else 0
        end
    ) as used,
    sum(
        case
            when charge.commitment_status = 'Unused' or charge.category = 'Purchase' then charge.effective else 0
        end
    ) as unused
from agreed
left join link on agreed.commitment = link.commitment
left join charge
    on
        link.source_id = charge.source_id and link.record = charge.record and agreed.currency = charge.currency
        and charge.category in ('Usage', 'Purchase')
group by
    agreed.contract, agreed.commitment, agreed.kind, agreed.currency, agreed.cost, agreed.started, agreed.ended
