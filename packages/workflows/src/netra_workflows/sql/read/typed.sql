-- Text becomes values; what can't makes the row's fault. The first fault is the reason that is told.
with read_once as (
    select
        *, amount(BilledCost) as billed, amount(EffectiveCost) as effective, amount(PricingQuantity) as quantity,
        instant(BillingPeriodStart) as period, instant(ChargePeriodStart) as started,
        instant(ChargePeriodEnd) as ended, try(json_type(Tags)) as tags_are
    from ({format}) as cells
)
select
    record, hash(
        ProviderName, ServiceName, ChargeDescription, PricingUnit, ChargeFrequency, PricingCategory,
        SkuPriceDetails, InstanceType
    ) as meter_id,
    coalesce(ProviderName, 'unknown') as provider, coalesce(ServiceName, 'unknown') as service,
    ChargeDescription as description, PricingUnit as unit, ChargeFrequency as frequency, PricingCategory as pricing, SkuPriceDetails as details,
    InstanceType as instance_type, coalesce(SubAccountId, BillingAccountId, 'unknown') as account,
    BillingAccountId as billing_account, coalesce(BillingCurrency, 'XXX') as currency,
    coalesce(period, date_trunc('month', started)) as period_start, started, ended, ChargeCategory as category,
    ChargeClass is not null as correction, billed, effective, quantity, RegionId as region,
    ResourceId as resource, CommitmentDiscountId as commitment, CommitmentDiscountType as commitment_kind,
    CommitmentDiscountStatus as commitment_status, CommitmentProgramEligibilityDetails as eligible, ContractApplied as applied,
    coalesce(tags_are in ('OBJECT', 'ARRAY'), false) and Tags not in ('{}', '[]') as tagged,
    Tags is not null and tags_are is null as odd_tags,
    starts_with(BilledCost, '$') or starts_with(BilledCost, '-$') as odd_amount,
    contains(ChargePeriodStart, '/') as odd_date,
    case
        when BilledCost is null then 'BilledCost is missing'
        when billed is null then 'BilledCost is no number'
        when EffectiveCost is not null and effective is null then 'EffectiveCost is no number'
        when not numeric_or_null(ListCost) then 'ListCost is no number'
        when not numeric_or_null(ContractedCost) then 'ContractedCost is no number'
        when PricingQuantity is not null and quantity is null then 'PricingQuantity is no number'
        when ChargeCategory is null then 'ChargeCategory is missing or unknown'
        when ChargeCategory not in ('Usage', 'Purchase', 'Tax', 'Credit', 'Adjustment')
            then 'ChargeCategory is none of the specification''s'
        when ChargeClass <> 'Correction' then 'ChargeClass is none of the specification''s'
        when started is null then 'ChargePeriodStart is no date'
        when ended is null then 'ChargePeriodEnd is no date'
        when ended < started then 'ChargePeriodEnd is before its start'
        when BillingPeriodStart is not null and period is null then 'BillingPeriodStart is no date'
        when BillingCurrency is null and {currency_told} then 'BillingCurrency is missing'
        when BillingCurrency not in ('USD', 'EUR') and not regexp_full_match(BillingCurrency, '[A-Z]{3}')
            then 'BillingCurrency is no ISO 4217 code'
        when CommitmentDiscountStatus not in ('Used', 'Unused')
            then 'CommitmentDiscountStatus is none of the specification''s'
    end as fault
from read_once
