-- What each commitment cost, amortised: used, unused, and what was bought of it in these bills.
-- EffectiveCost of a purchase is what an export amortises there and nowhere else (AWS: RIFee).
select
    meter.provider, charge.commitment, coalesce(max(charge.commitment_kind), 'unknown') as kind, charge.currency,
    sum(case when charge.commitment_status = 'Used' then charge.effective else 0 end) as used,
    sum(
        case when charge.commitment_status = 'Unused' or charge.category = 'Purchase' then charge.effective else 0 end
    ) as unused,
    sum(case when charge.category = 'Purchase' then charge.billed else 0 end) as purchased
from charge join meter on charge.meter_id = meter.meter_id
where charge.commitment is not null and charge.category in ('Usage', 'Purchase')
group by meter.provider, charge.commitment, charge.currency
