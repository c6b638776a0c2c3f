"""Time zones of stations by their coordinates, from the maps of the time zone database."""

from __future__ import annotations

ZONES = {
    "America/Anchorage": """
        AK_Deadhorse_3_S AK_Denali_27_N AK_Glennallen_64_N AK_Ivotuk_1_NNE AK_Kenai_29_ENE AK_King_Salmon_42_SE
        AK_Port_Alsworth_1_SW AK_Ruby_44_ESE AK_Sand_Point_1_ENE AK_Tok_70_SE AK_Utqiagvik_formerly_Barrow_4_ENE
    """,
    "America/Boise": """
        ID_Murphy_10_W
    """,
    "America/Chicago": """
        AL_Brewton_3_NNE AL_Clanton_2_NE AL_Courtland_2_WSW AL_Cullman_3_ENE AL_Greensboro_2_WNW
        AL_Guntersville_2_SW AL_Highland_Home_2_S AL_Muscle_Shoals_2_N AL_Northport_2_S AL_Russellville_4_SSE
        AL_Scottsboro_2_NE AL_Selma_13_WNW AL_Selma_6_SSE AL_Talladega_10_NNE AL_Thomasville_2_S
        AL_Valley_Head_1_SSW AR_Batesville_8_WNW IA_Des_Moines_17_E IL_Champaign_9_SW IL_Shabbona_5_NNE
        KS_Manhattan_6_SSW KS_Oakley_19_SSW KY_Bowling_Green_21_NNE LA_Lafayette_13_SE LA_Monroe_26_N
        MN_Goodridge_12_NNW MN_Sandstone_6_W MO_Chillicothe_22_ENE MO_Joplin_24_N MS_Holly_Springs_4_N
        MS_Newton_5_ENE NE_Lincoln_11_SW NE_Lincoln_8_ENE OK_Goodwell_2_E OK_Goodwell_2_SE OK_Stillwater_5_WNW
        SD_Aberdeen_35_WNW SD_Sioux_Falls_14_NNE TN_Crossville_7_NW TX_Austin_33_NW TX_Bronte_11_NNE
        TX_Edinburg_17_NNE TX_Monahans_6_ENE TX_Palestine_6_WNW TX_Panther_Junction_2_N WI_Necedah_5_WNW
    """,
    "America/Denver": """
        AZ_Kayenta_16_WSW AZ_Tsaile_1_SSW CO_Akron_A_4_E CO_Buena_Vista_2_SSE CO_Center_A_4_SSW
        CO_Colorado_Springs_23_NW CO_Craig_30_N CO_Dinosaur_2_E CO_Eads_16_ENE CO_Genoa_35_N
        CO_Grand_Junction_9_W CO_Kim_9_WSW CO_La_Junta_17_WSW CO_Montrose_11_ENE CO_Rifle_23_NW
        CO_Rocky_Ford_1_ESE CO_Saguache_2_WNW CO_Springfield_6_WSW CO_Stratton_24_N CO_Woodland_Park_14_WSW
        MT_Dillon_18_WSW MT_Lewistown_42_WSW MT_St._Mary_1_SSW MT_Wolf_Point_34_NE ND_Medora_7_E
        NE_Harrison_20_SSE NE_Whitman_5_ENE NM_Artesia_2_WNW NM_Aztec_43_E NM_Carrizozo_1_W NM_Clayton_3_ENE
        NM_Elida_14_SW NM_Grants_2_S NM_Hagerman_10_ESE NM_Las_Cruces_20_N NM_Las_Vegas_6_NE NM_Los_Alamos_13_W
        NM_Mills_6_WSW NM_Nageezi_18_SSW NM_Pinon_8_SSE NM_Ramah_9_SE NM_Raton_26_ESE NM_Reserve_1_W
        NM_Santa_Fe_20_WNW NM_Socorro_17_WSW NM_Socorro_20_N NM_Taos_27_NW NM_Vaughn_36_SSE SD_Buffalo_13_ESE
        UT_Beaver_15_E UT_Bluff_32_NW UT_Brigham_City_28_WNW UT_Cedar_City_18_SSE UT_Delta_4_NE UT_Manila_18_ESE
        UT_Mexican_Hat_10_NW UT_Midway_3_NE UT_Milford_42_WNW UT_Monticello_24_NW UT_Provo_22_E UT_Torrey_7_E
        UT_Tropic_9_SE UT_Vernal_23_SSE WY_Lander_11_SSE WY_Moose_1_NNE WY_Sundance_8_NNW
    """,
    "America/Indiana/Indianapolis": """
        IN_Bedford_5_WNW
    """,
    "America/Juneau": """
        AK_Gustavus_2_NE
    """,
    "America/Los_Angeles": """
        CA_Bodega_6_WSW CA_Fallbrook_5_NE CA_Merced_23_WSW CA_Redding_12_WNW NV_Baker_5_W NV_Denio_52_WSW
        NV_Mercury_3_SSW OR_Corvallis_10_SSW OR_John_Day_35_WNW OR_Riley_10_WSW WA_Darrington_21_NNE
        WA_Quinault_4_NE WA_Spokane_17_SSW
    """,
    "America/New_York": """
        FL_Everglades_City_5_NE FL_Sebring_23_SSE FL_Titusville_7_E GA_Brunswick_23_S GA_Newton_8_W
        GA_Watkinsville_5_SSE KY_Versailles_3_NNW ME_Limestone_4_NNW ME_Old_Town_2_W NC_Asheville_13_S
        NC_Durham_11_W NH_Durham_2_SSW NY_Millbrook_3_W OH_Coshocton_8_NNE PA_Avondale_2_N RI_Kingston_1_NW
        RI_Kingston_1_W SC_Blackville_3_W SC_McClellanville_7_NE VA_Charlottesville_2_SSE WV_Elkins_21_ENE
    """,
    "America/Nome": """
        AK_Red_Dog_Mine_3_SSW AK_St._Paul_4_NE
    """,
    "America/Phoenix": """
        AZ_Ajo_29_S AZ_Amado_23_W AZ_Bowie_23_SSE AZ_Cameron_25_SSE AZ_Camp_Verde_3_N AZ_Fredonia_7_SSE
        AZ_Gila_Bend_3_ENE AZ_Heber_3_SE AZ_Kingman_8_NE AZ_Lake_Havasu_City_19_SE AZ_Page_9_WSW AZ_Phoenix_7_S
        AZ_Safford_5_NNE AZ_Tucson_11_W AZ_Whiteriver_A_1_SW AZ_Williams_35_NNW AZ_Yuma_27_ENE
    """,
    "America/Sitka": """
        AK_Sitka_1_NE
    """,
    "America/Toronto": """
        ON_Egbert_1_W
    """,
    "Asia/Yakutsk": """
        SA_Tiksi_4_SSE
    """,
    "Pacific/Honolulu": """
        HI_Hilo_5_S
    """,
}

# Stations near borders that no file of the tests holds: name, longitude, latitude, zone.
OTHERS = [
    ("ND_Northgate_5_ESE", -102.17, 48.97, "America/Chicago"),
    ("ND_Jamestown_38_WSW", -99.48, 46.77, "America/Chicago"),
    ("SD_Pierre_24_S", -100.35, 44.02, "America/Chicago"),
    ("MI_Chatham_1_SE", -86.92, 46.33, "America/Detroit"),
    ("MI_Gaylord_9_SSW", -84.72, 44.91, "America/Detroit"),
    ("AK_Metlakatla_6_S", -131.59, 55.05, "America/Metlakatla"),
    ("AK_Selawik_28_E", -158.61, 66.56, "America/Anchorage"),
    ("TX_Muleshoe_19_S", -102.77, 33.96, "America/Chicago"),
    ("ID_Arco_17_SW", -113.56, 43.46, "America/Boise"),
    ("HI_Mauna_Loa_5_NNE", -155.58, 19.53, "Pacific/Honolulu"),
    ("AK_Adak", -176.64, 51.88, "America/Adak"),
    ("AK_Shemya", 174.12, 52.72, "America/Adak"),
]
