-- Text becomes values; what can't makes the row's fault. The first fault is the reason that is told.
select
    record, hash(
        ProviderName, ServiceName, ServiceCategory, ChargeDescription, SkuPriceId, PricingUnit, ResourceType,
        PublisherName, ChargeFrequency, PricingCategory, SkuPriceDetails, InstanceType
    ) as meter_id,
    coalesce(ProviderName, 'unknown') as provider, coalesce(ServiceName, 'unknown') as service,
    ServiceCategory as service_category, ChargeDescription as description, SkuPriceId as sku_price,
    PricingUnit as unit, ResourceType as resource_type, PublisherName as publisher,
    ChargeFrequency as frequency, PricingCategory as pricing, SkuPriceDetails as details,
    InstanceType as instance_type, coalesce(SubAccountId, BillingAccountId, 'unknown') as account,
    BillingAccountId as billing_account, coalesce(BillingCurrency, 'XXX') as currency,
    coalesce(instant(BillingPeriodStart), date_trunc('month', instant(ChargePeriodStart))) as period_start,
    instant(ChargePeriodStart) as started, instant(ChargePeriodEnd) as ended, ChargeCategory as category,
    ChargeClass is not null as correction, amount(BilledCost) as billed, amount(EffectiveCost) as effective,
    amount(ListCost) as listed, amount(PricingQuantity) as quantity, RegionId as region, ResourceId as resource,
    CommitmentDiscountId as commitment, CommitmentDiscountType as commitment_kind,
    CommitmentDiscountStatus as commitment_status, CommitmentProgramEligibilityDetails as eligible,
    case
        when Tags is null or Tags in ('{}', '[]') or not json_valid(Tags) then false
        when json_type(Tags) = 'ARRAY' then json_array_length(Tags) > 0
        else json_type(Tags) = 'OBJECT'
    end as tagged,
    Tags is not null and not json_valid(Tags) as odd_tags,
    starts_with(BilledCost, '$') or starts_with(BilledCost, '-$') as odd_amount,
    contains(ChargePeriodStart, '/') as odd_date,
    case
        when BilledCost is null then 'BilledCost is missing'
        when amount(BilledCost) is null then 'BilledCost is no number'
        when EffectiveCost is not null and amount(EffectiveCost) is null then 'EffectiveCost is no number'
        when ListCost is not null and amount(ListCost) is null then 'ListCost is no number'
        when ContractedCost is not null and amount(ContractedCost) is null then 'ContractedCost is no number'
        when PricingQuantity is not null and amount(PricingQuantity) is null then 'PricingQuantity is no number'
        when ChargeCategory is null then 'ChargeCategory is missing or unknown'
        when ChargeCategory not in ('Usage', 'Purchase', 'Tax', 'Credit', 'Adjustment')
            then 'ChargeCategory is none of the specification''s'
        when ChargeClass is not null and ChargeClass <> 'Correction'
            then 'ChargeClass is none of the specification''s'
        when instant(ChargePeriodStart) is null then 'ChargePeriodStart is no date'
        when instant(ChargePeriodEnd) is null then 'ChargePeriodEnd is no date'
        when instant(ChargePeriodEnd) < instant(ChargePeriodStart) then 'ChargePeriodEnd is before its start'
        when BillingPeriodStart is not null and instant(BillingPeriodStart) is null
            then 'BillingPeriodStart is no date'
        when BillingCurrency is null and {currency_told} then 'BillingCurrency is missing'
        when not regexp_full_match(BillingCurrency, '[A-Z]{3}') then 'BillingCurrency is no ISO 4217 code'
        when CommitmentDiscountStatus not in ('Used', 'Unused')
            then 'CommitmentDiscountStatus is none of the specification''s'
    end as fault
from ({format}) as told_columns
