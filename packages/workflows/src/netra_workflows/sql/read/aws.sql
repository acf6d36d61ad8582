-- finopsfoundation/focus_converters (MIT), aws-cur: what a line item's type makes of its costs.
select
    record, coalesce(NetUnblendedCost, UnblendedCost) as BilledCost,
    case
        when LineItemType = 'SavingsPlanCoveredUsage' then SavingsPlanCost
        when LineItemType = 'SavingsPlanRecurringFee'
            then cast(amount(SavingsPlanTotal) - amount(SavingsPlanUsed) as varchar)
        when LineItemType in ('SavingsPlanNegation', 'SavingsPlanUpfrontFee') then '0'
        when LineItemType = 'DiscountedUsage' then ReservationCost
        when LineItemType = 'RIFee'
            then cast(amount(ReservationUnusedUpfront) + amount(ReservationUnusedFee) as varchar)
        when LineItemType = 'Fee' and Reservation is not null then '0'
        else UnblendedCost
    end as EffectiveCost,
    coalesce(cast(amount(ListRate) * cast(amount(UsageAmount) as double) as varchar), ListCost)
        as ListCost,
    cast(null as varchar) as ContractedCost, Payer as BillingAccountId, Account as SubAccountId,
    Currency as BillingCurrency, PeriodStart as BillingPeriodStart,
    UsageStart as ChargePeriodStart, UsageEnd as ChargePeriodEnd, mapped.focus as ChargeCategory,
    cast(null as varchar) as ChargeClass, coalesce(Description, UsageType) as ChargeDescription,
    case
        when LineItemType in ('RIFee', 'SavingsPlanRecurringFee') then 'Recurring'
        when mapped.focus = 'Usage' then 'Usage-Based'
        else 'One-Time'
    end as ChargeFrequency,
    case
        when LineItemType in ('SavingsPlanCoveredUsage', 'SavingsPlanNegation', 'DiscountedUsage') then 'Committed'
        when PurchaseOption = 'Spot Instances' then 'Dynamic'
        else 'Standard'
    end as PricingCategory,
    UsageAmount as PricingQuantity, Unit as PricingUnit, 'AWS' as ProviderName, Region as RegionId,
    Resource as ResourceId, Product as ServiceName,
    cast(null as varchar) as SkuPriceDetails, coalesce(SavingsPlan, Reservation) as CommitmentDiscountId,
    case
        when SavingsPlan is not null then 'Savings Plan'
        when Reservation is not null then 'Reserved Instance'
    end as CommitmentDiscountType,
    case
        when LineItemType in ('SavingsPlanCoveredUsage', 'DiscountedUsage') then 'Used'
    end as CommitmentDiscountStatus,
    cast(null as varchar) as CommitmentProgramEligibilityDetails, cast(null as varchar) as ContractApplied, Tags as Tags,
    InstanceType as InstanceType
from raw left join mapped
    on mapped.format = 'aws' and mapped.focus_column = 'ChargeCategory' and mapped.found = raw.LineItemType
