-- finopsfoundation/focus_converters (MIT), gcp. A row's credits are money of their own: rows of category Credit.
with told_once as (
    select
        raw.*, coalesce(mapped.focus, 'Usage') as focus_category,
        case
            when Credits is null then 0
            when not json_valid(Credits) then null
            else list_sum(cast(json_extract(Credits, '$[*].amount') as decimal(38, 18)[]))
        end as credit
    from raw left join mapped
        on mapped.format = 'gcp' and mapped.focus_column = 'ChargeCategory' and mapped.found = raw.CostType
),
costs as (
    select *, focus_category as category, Cost as billed from told_once
    union all by name
    select *, 'Credit' as category, cast(credit as varchar) as billed from told_once where credit <> 0
)
select
    record, billed as BilledCost, billed as EffectiveCost, ListCost as ListCost,
    cast(null as varchar) as ContractedCost, BillingAccount as BillingAccountId,
    Project as SubAccountId, coalesce(Currency, 'XXX') as BillingCurrency,
    coalesce(
        cast(try_strptime(costs."Month", '%Y%m') as varchar),
        cast(date_trunc('month', instant(UsageStart)) as varchar)
    ) as BillingPeriodStart,
    UsageStart as ChargePeriodStart, UsageEnd as ChargePeriodEnd, category as ChargeCategory,
    cast(null as varchar) as ChargeClass, Sku as ChargeDescription, 'Usage-Based' as ChargeFrequency,
    'Standard' as PricingCategory, PricingAmount as PricingQuantity, PricingUnit as PricingUnit,
    'Google Cloud' as ProviderName,
    coalesce(Region, "Location") as RegionId, coalesce(Resource, ResourceName) as ResourceId, Service as ServiceName, cast(null as varchar) as SkuPriceDetails,
    cast(null as varchar) as CommitmentDiscountId, cast(null as varchar) as CommitmentDiscountType,
    cast(null as varchar) as CommitmentDiscountStatus,
    cast(null as varchar) as CommitmentProgramEligibilityDetails, cast(null as varchar) as ContractApplied, Labels as Tags,
    cast(null as varchar) as InstanceType
from costs
