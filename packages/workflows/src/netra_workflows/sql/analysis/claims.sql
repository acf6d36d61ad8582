-- Rows that a rule doubts or a plan may cover, each with one rule: of those that doubt it the one of lowest precedence,
-- 99 where none does. Usage that was paid for on demand, and of commitments what is unused with what was bought; never
-- credits, refunds, tax.
select
    charge.source_id, charge.record, charge.meter_id, charge.account, charge.currency,
    coalesce(charge.commitment, charge.resource, '') as resource, charge.billed,
    case when charge.category = 'Usage' and charge.commitment_status is null then 0 else charge.effective end as unused,
    charge.day, charge.started, charge.ended, charge.quantity, charge.region,
    charge.tagged,
    case
        when waste.commitment is not null then (select precedence from rule where id = 'unused_commitment')
        else least(
            coalesce(meter_rule.precedence, 99), coalesce(idle.precedence, 99), coalesce(unusual.precedence, 99)
        )
    end as precedence,
    case
        when waste.commitment is not null then 1
        when
            idle.precedence is not null
            and idle.precedence <= least(coalesce(meter_rule.precedence, 99), coalesce(unusual.precedence, 99))
            then idle.rate
        when meter_rule.precedence is not null and meter_rule.precedence <= coalesce(unusual.precedence, 99)
            then meter_rule.rate
        else 0
    end as rate
from charge
join meter on charge.meter_id = meter.meter_id
left join meter_rule on charge.meter_id = meter_rule.meter_id
left join machine on charge.meter_id = machine.meter_id
left join idle_claim as idle
    on
        charge.meter_id = idle.meter_id and charge.account = idle.account and charge.currency = idle.currency
        and charge.resource = idle.resource
left join unusual
    on
        charge.account = unusual.account and charge.currency = unusual.currency
        and charge.meter_id = unusual.meter_id and charge.day = unusual.day
left join waste
    on
        charge.commitment = waste.commitment and charge.currency = waste.currency
        and meter.provider = waste.provider
        and (charge.category = 'Purchase' or (charge.category = 'Usage' and charge.commitment_status = 'Unused'))
where
    waste.commitment is not null
    or (
        charge.category = 'Usage' and not charge.correction and charge.commitment_status is null
        and charge.billed <> 0 and coalesce(meter.pricing, 'Standard') <> 'Committed'
        and (
            meter_rule.meter_id is not null or idle.meter_id is not null or unusual.meter_id is not null
            or machine.meter_id is not null or charge.tagged = false
        )
    )
