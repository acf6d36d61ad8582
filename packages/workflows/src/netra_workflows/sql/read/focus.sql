select
    record, BilledCost as BilledCost, EffectiveCost as EffectiveCost, ListCost as ListCost,
    ContractedCost as ContractedCost, BillingAccountId as BillingAccountId,
    SubAccountId as SubAccountId, BillingCurrency as BillingCurrency,
    BillingPeriodStart as BillingPeriodStart, ChargePeriodStart as ChargePeriodStart,
    ChargePeriodEnd as ChargePeriodEnd, ChargeCategory as ChargeCategory,
    ChargeClass as ChargeClass, ChargeDescription as ChargeDescription,
    ChargeFrequency as ChargeFrequency, PricingCategory as PricingCategory,
    PricingQuantity as PricingQuantity, PricingUnit as PricingUnit,
    coalesce(ServiceProviderName, ProviderName) as ProviderName, RegionId as RegionId,
    ResourceId as ResourceId, ServiceName as ServiceName,
    SkuPriceDetails as SkuPriceDetails, CommitmentDiscountId as CommitmentDiscountId,
    CommitmentDiscountType as CommitmentDiscountType,
    CommitmentDiscountStatus as CommitmentDiscountStatus,
    CommitmentProgramEligibilityDetails as CommitmentProgramEligibilityDetails,
    ContractApplied as ContractApplied, Tags as Tags,
    cast(null as varchar) as InstanceType
from raw
